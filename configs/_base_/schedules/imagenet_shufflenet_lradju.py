_base_ = './imagenet_shufflenet_lrnorm.py'

param_scheduler = dict(total=100)
train_cfg = dict(max_epochs=100)
