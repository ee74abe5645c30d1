# The optimizer of scenes; 2 epochs of 704 steps.
_base_ = './scenes_pretrain.py'

param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0,
        by_epoch=True,
        begin=0,
        end=2,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=1)
# --auto-scale-lr: 1 process x batch 64
auto_scale_lr = dict(base_batch_size=64)
