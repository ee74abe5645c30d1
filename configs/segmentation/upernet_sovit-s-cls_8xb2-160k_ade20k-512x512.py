_base_ = [
    '../_base_/models/upernet_sovit-small.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/ade20k_adamw_160k.py',
    '../_base_/default_runtime_seg.py',
]

train_dataloader = dict(batch_size=2)
