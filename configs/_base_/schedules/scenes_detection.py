# AdamW: SGD is too slow for 6 epochs of 50 steps.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.05),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0,
        by_epoch=True,
        begin=0,
        end=6,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=6, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# --auto-scale-lr: 1 process x batch 8
auto_scale_lr = dict(enable=False, base_batch_size=8)

# Dropout and sampling depend on (seed, epoch) only: a resumed run gives the weights of an
# uninterrupted one.
custom_hooks = [dict(type='mmgcp.EpochSeedHook')]
