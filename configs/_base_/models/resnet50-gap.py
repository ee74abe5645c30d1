# Initialized as published, like torchvision: the last norm of a block starts at 1, the
# classifier with torch's default.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmgcp.GCPResNet',
        depth=50,
        last_stage='stride',
        num_stages=4,
        out_indices=(3,),
        style='pytorch',
        zero_init_residual=False,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=2048,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1, 5),
        init_cfg=dict(type='mmgcp.TorchDefault'),
    ),
)
