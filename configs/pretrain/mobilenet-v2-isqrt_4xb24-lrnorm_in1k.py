_base_ = [
    '../_base_/models/mobilenet-v2-isqrt.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_mobilenet_lrnorm.py',
    '../_base_/default_runtime_cls.py',
]

# 4 GPUs x 24 = the batch of 96 of the schedule.
train_dataloader = dict(batch_size=24)
