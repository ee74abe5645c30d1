# mmpretrain's Swin, as in pre-training, in its form for dense tasks.
_base_ = './upernet_r50.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.SwinTransformer',
        arch='tiny',
        img_size=224,
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.3,
        pad_small_map=True,
        init_cfg=dict(
            type='mmgcp.PretrainedEncoder',
            checkpoint='checkpoints/swin-tiny-gap.pth',
            # The norms of the inner maps do not exist in pre-training.
            allow_missing=('norm0.*', 'norm1.*', 'norm2.*'),
        ),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
