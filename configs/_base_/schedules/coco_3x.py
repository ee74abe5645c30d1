# 36 plain epochs. The framework trains 12 epochs on a data set repeated three times:
# the same iterations, but the keys of `train_dataloader.dataset` would differ from those
# of the other configs.
_base_ = './coco_1x.py'

train_cfg = dict(max_epochs=36, val_interval=3)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(
        type='MultiStepLR',
        begin=0,
        end=36,
        by_epoch=True,
        milestones=[27, 33],  # 3 x [9, 11]
        gamma=0.1,
    ),
]
