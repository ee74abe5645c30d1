# The same encoder classified from its class token alone: the first-order partner.
_base_ = './sovit-small_dropcov.py'

model = dict(
    backbone=dict(out_type='cls_token'),
    neck=None,
    head=dict(
        _delete_=True,
        type='VisionTransformerClsHead',
        num_classes=1000,
        in_channels=384,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
)
