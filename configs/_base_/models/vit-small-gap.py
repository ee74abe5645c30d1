# timm's ViT-S/16, which returns all tokens; its own initialization. Pooled are the
# patch tokens.
_base_ = './swin-tiny-gap.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='TIMMBackbone',
        model_name='vit_small_patch16_224',
        dynamic_img_size=True,
        drop_path_rate=0.1,
    ),
    neck=dict(_delete_=True, type='mmgcp.GlobalAveragePooling'),
    head=dict(in_channels=384),
    init_cfg=None,
)
