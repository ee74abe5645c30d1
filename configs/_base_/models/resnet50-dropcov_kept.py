_base_ = './resnet50-isqrt_kept.py'

kept_file = 'checkpoints/resnet50-dropcov-classifier.pth'
model = dict(
    backbone=dict(init_cfg=dict(checkpoint=kept_file)),
    neck=dict(
        reduced_channels=128,
        normalization=None,
        dropout=dict(type='DropCov'),
        init_cfg=dict(checkpoint=kept_file),
    ),
    head=dict(in_channels=8256),
)
