# timm's ViT-S/16 with the pyramid of ViTDet. The learning-rate decay is that of ViTDet for
# ViT-B. No published result.
_base_ = [
    '../_base_/models/upernet_r50.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/ade20k_adamw_160k.py',
    '../_base_/default_runtime_seg.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmgcp.TimmEncoder',
        model='vit_small_patch16_224',
        drop_path_rate=0.1,
        init_cfg=dict(
            type='mmgcp.PretrainedEncoder', checkpoint='checkpoints/vit-small-gap.pth'
        ),
    ),
    decode_head=dict(in_channels=[256, 256, 256, 256]),
    auxiliary_head=dict(in_channels=256),
)
train_dataloader = dict(batch_size=2)
optim_wrapper = dict(
    constructor='mmgcp.LayerDecayConstructor',
    paramwise_cfg=dict(
        _delete_=True,
        layer_decay_rate=0.7,
        norm_decay_mult=0.0,
        custom_keys=dict(pos_embed=dict(decay_mult=0.0)),
    ),
)
