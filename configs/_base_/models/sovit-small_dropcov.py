# "DeiT-S + DropCov" of the paper, 25.6 M parameters: 12 blocks behind a convolutional
# token embedding. `official` is left at its default, so that the published classifier
# weights give the published logits.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmgcp.SoViT', arch='deit-small', img_size=224, drop_path_rate=0.1
    ),
    neck=dict(
        type='mmgcp.MultiHeadCrossCovariancePooling',
        in_channels=384,
        num_heads=6,
        head_dims=24,
    ),
    head=dict(
        type='mmgcp.TokenFusionHead',
        num_classes=1000,
        in_channels=384,
        second_order_channels=3456,  # 6 * 24 * 24
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]
    ),
)
