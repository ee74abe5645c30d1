# LRfast: lr(e) = 0.06 * 0.92^e over 100 epochs, batch 96.
_base_ = './imagenet_mobilenet_lrnorm.py'

optim_wrapper = dict(optimizer=dict(lr=0.06))
param_scheduler = dict(gamma=0.92)
train_cfg = dict(max_epochs=100)
