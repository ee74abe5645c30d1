_base_ = './imagenet_shufflenet_lrnorm.py'

param_scheduler = dict(total=60)
train_cfg = dict(max_epochs=60)
