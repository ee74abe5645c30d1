_base_ = [
    '../_base_/models/deit-small-cls.py',
    '../_base_/datasets/imagenet_rand-augment.py',
    '../_base_/schedules/imagenet_transformer_310e.py',
    '../_base_/default_runtime_cls.py',
]

optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            '.cls_token': dict(decay_mult=0.0),
            '.pos_embed': dict(decay_mult=0.0),
        }
    )
)
