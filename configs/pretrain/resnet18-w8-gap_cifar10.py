_base_ = [
    '../_base_/models/resnet18-w8-gap.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/cifar10_pretrain.py',
    '../_base_/default_runtime_cls.py',
]

default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
randomness = dict(seed=0)
