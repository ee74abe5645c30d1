# Covariance of the 14 x 14 patch tokens, without the class token. No published result.
_base_ = './vit-small-gap_8xb128_in1k.py'

model = dict(
    neck=dict(
        _delete_=True,
        type='mmgcp.GlobalCovariancePooling',
        in_channels=384,
        reduced_channels=256,
        normalization=dict(type='NewtonSchulz', iterations=5),
    ),
    head=dict(in_channels=32896),
)
