# LRadju: 0.06 -> 0.01 -> 0.001 -> 0.00001, linear over 50 epochs each, batch 192.
# The factors are relative to what the segment before has reached; a LinearLR reaches
# its end_factor one step before its end.
_base_ = './imagenet_mobilenet_lrnorm.py'

segment = dict(type='LinearLR', by_epoch=True, start_factor=1.0)
optim_wrapper = dict(optimizer=dict(lr=0.06))
param_scheduler = [
    dict(begin=0, end=51, end_factor=0.01 / 0.06, **segment),
    dict(begin=50, end=101, end_factor=0.001 / 0.01, **segment),
    dict(begin=100, end=151, end_factor=0.00001 / 0.001, **segment),
]
train_cfg = dict(max_epochs=150)
auto_scale_lr = dict(base_batch_size=192)
