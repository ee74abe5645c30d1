# So-ViT-S: a convolutional token embedding and 12 blocks, classified from the class token
# alone.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmgcp.SoViT',
        arch='deit-small',
        img_size=224,
        drop_path_rate=0.1,
        out_type='cls_token',
    ),
    neck=None,
    head=dict(
        type='VisionTransformerClsHead',
        num_classes=1000,
        in_channels=384,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]
    ),
)
