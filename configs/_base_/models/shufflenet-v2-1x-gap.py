# Initialized as published: torch's defaults, like torchvision.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmgcp.GCPShuffleNetV2',
        widen_factor=1.0,
        init_cfg=dict(type='mmgcp.TorchDefault'),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=1024,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1, 5),
        init_cfg=dict(type='mmgcp.TorchDefault'),
    ),
)
