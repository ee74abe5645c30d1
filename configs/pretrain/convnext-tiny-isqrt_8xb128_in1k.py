# The recipe of the DropCov transformers, on 7 x 7 positions. No published result.
_base_ = './convnext-tiny-gap_8xb128_in1k.py'

model = dict(
    neck=dict(
        _delete_=True,
        type='mmgcp.GlobalCovariancePooling',
        in_channels=768,
        reduced_channels=256,
        normalization=dict(type='NewtonSchulz', iterations=5),
    ),
    head=dict(in_channels=32896),
)
