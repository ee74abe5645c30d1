# AdamW, which DropCov's recipe uses for transformers only: after 8 epochs of 135 steps
# SGD was hardly above chance.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.002, weight_decay=0.05),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.1,
        by_epoch=True,
        begin=0,
        end=1,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0,
        by_epoch=True,
        begin=1,
        end=8,
        convert_to_iter_based=True,
    ),
]
# 8 epochs of 135 steps (docs/scenes.md).
train_cfg = dict(by_epoch=True, max_epochs=8, val_interval=1)
val_cfg = dict()
test_cfg = dict()
# --auto-scale-lr: 1 process x batch 32
auto_scale_lr = dict(base_batch_size=32)

# Dropout and augmentation depend on (seed, epoch) only: a resumed run gives the weights
# of an uninterrupted one.
custom_hooks = [dict(type='mmgcp.EpochSeedHook')]
