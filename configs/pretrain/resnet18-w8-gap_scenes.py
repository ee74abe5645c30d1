_base_ = [
    '../_base_/models/resnet18-w8-gap.py',
    '../_base_/datasets/scenes_classification.py',
    '../_base_/schedules/scenes_pretrain.py',
    '../_base_/default_runtime_cls.py',
]

default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
randomness = dict(seed=0)
