# DeiT-T of the released DropCov code: 6 * 14 * 14 = 1176 entries. No published result
# with this head.
_base_ = './sovit-small-dropcov_8xb128_in1k.py'

model = dict(
    backbone=dict(arch='deit-tiny'),
    neck=dict(in_channels=240, head_dims=14),
    head=dict(in_channels=240, second_order_channels=1176),
)
