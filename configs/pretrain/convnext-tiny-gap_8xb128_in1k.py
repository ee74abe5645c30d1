_base_ = [
    '../_base_/models/convnext-tiny-gap.py',
    '../_base_/datasets/imagenet_rand-augment.py',
    '../_base_/schedules/imagenet_transformer_310e.py',
    '../_base_/default_runtime_cls.py',
]
