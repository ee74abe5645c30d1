# The recipe of the DropCov transformers: AdamW, 300 epochs of cosine from the first
# epoch on with 5 of warm-up laid over it, then 10 at the lowest rate; batch 1024.
# Mixed precision as the recipe has it: tools/train.py --amp.
optim_wrapper = dict(
    optimizer=dict(
        type='AdamW', lr=1e-3, weight_decay=0.03, eps=1e-8, betas=(0.9, 0.999)
    ),
    # One-dimensional parameters are not decayed; the class token is.
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = dict(
    type='mmgcp.WarmupCosineLR',
    by_epoch=True,
    total=300,
    warmup=5,
    warmup_value=1e-6,
    eta_min=1e-5,
)
custom_hooks = [
    dict(type='EMAHook', momentum=4e-5, priority='ABOVE_NORMAL')  # 1 - 0.99996
]
train_cfg = dict(by_epoch=True, max_epochs=310, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(enable=False, base_batch_size=1024)
