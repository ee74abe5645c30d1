# ResNet-18 at a quarter of its width: 64 / 4 = 16 base channels.
# Stages give 16, 32, 64, 128 channels.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmgcp.GCPResNet',
        depth=18,
        base_channels=16,
        stem_channels=16,
        num_stages=4,
        out_indices=(3,),
        style='pytorch',
        # As published: the average-pooling ResNet keeps its last stride of 2.
        last_stage='stride',
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=128,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1,),
    ),
)
