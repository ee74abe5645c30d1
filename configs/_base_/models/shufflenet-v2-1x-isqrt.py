# The encoder keeps its stride of 32 (7 x 7 positions); ReLU6 after the reduction, as
# in the official network.
_base_ = './shufflenet-v2-1x-gap.py'

model = dict(
    neck=dict(
        _delete_=True,
        type='mmgcp.GlobalCovariancePooling',
        in_channels=1024,
        reduced_channels=256,
        normalization=dict(type='NewtonSchulz', iterations=5),
        act_cfg=dict(type='ReLU6'),
        init_cfg=dict(type='mmgcp.TorchDefault'),
    ),
    head=dict(in_channels=32896),
)
