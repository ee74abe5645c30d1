# No recipe for iNaturalist is published: LRadju of ImageNet at a tenth of its rate.
_base_ = [
    '../_base_/models/resnet50-dropcov_kept.py',
    '../_base_/datasets/inat2017.py',
    '../_base_/schedules/imagenet_resnet_lradju.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(head=dict(num_classes=5089))
optim_wrapper = dict(optimizer=dict(lr=0.01 * (50 / 49) ** 2))
