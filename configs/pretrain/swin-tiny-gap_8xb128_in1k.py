_base_ = [
    '../_base_/models/swin-tiny-gap.py',
    '../_base_/datasets/imagenet_rand-augment.py',
    '../_base_/schedules/imagenet_transformer_310e.py',
    '../_base_/default_runtime_cls.py',
]

optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            '.absolute_pos_embed': dict(decay_mult=0.0),
            '.relative_position_bias_table': dict(decay_mult=0.0),
        }
    )
)
