# mmpretrain's Swin, as in pre-training, so that the encoder loads strictly. It is the same
# network as the detection framework's.
_base_ = [
    '../_base_/models/mask-rcnn_r50_fpn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/coco_swin_1x.py',
    '../_base_/default_runtime_det.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.SwinTransformer',
        arch='tiny',
        img_size=224,
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        pad_small_map=True,
        init_cfg=dict(
            type='mmgcp.PretrainedEncoder',
            checkpoint='checkpoints/swin-tiny-gap.pth',
            # The norms of the inner maps do not exist in pre-training.
            allow_missing=('norm0.*', 'norm1.*', 'norm2.*'),
        ),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
