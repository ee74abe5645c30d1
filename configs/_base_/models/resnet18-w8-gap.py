# ResNet-18 at an eighth of its width: 64 / 8 = 8 base channels.
# Stages give 8, 16, 32, 64 channels. The stem has stride 2 and no pooling: an image of
# 48 pixels ends in 6 x 6 positions at stride 8, and in 3 x 3 with the last stride.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmgcp.GCPResNet',
        depth=18,
        base_channels=8,
        stem_channels=8,
        stem_pool=False,
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
        in_channels=64,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1,),
    ),
)
