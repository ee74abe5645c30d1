_base_ = [
    '../_base_/models/shufflenet-v2-1x-isqrt.py',
    '../_base_/datasets/imagenet_color-jitter.py',
    '../_base_/schedules/imagenet_shufflenet_lrnorm.py',
    '../_base_/default_runtime_cls.py',
]
