_base_ = [
    '../_base_/models/resnet50-gap_kept.py',
    '../_base_/datasets/stanford-cars.py',
    '../_base_/schedules/fine-grained.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(head=dict(num_classes=196))
