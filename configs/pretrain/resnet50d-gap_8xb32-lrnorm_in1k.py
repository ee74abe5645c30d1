_base_ = [
    '../_base_/models/resnet50d-gap.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_resnet_lrnorm.py',
    '../_base_/default_runtime_cls.py',
]
