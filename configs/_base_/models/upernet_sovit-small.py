# Levels from blocks 3, 6, 9 and 12, which the encoder rescales to strides 4, 8, 16 and 32
# without parameters. Positions are interpolated to the size of the image.
_base_ = './upernet_r50.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmgcp.SoViT',
        arch='deit-small',
        img_size=224,
        out_type='featmap',
        drop_path_rate=0.1,
        init_cfg=dict(
            type='mmgcp.PretrainedEncoder', checkpoint='checkpoints/sovit-small-cls.pth'
        ),
    ),
    decode_head=dict(in_channels=[384, 384, 384, 384]),
    auxiliary_head=dict(in_channels=384),
)
