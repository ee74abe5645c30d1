# LRadju: lr(e) = 0.1 * (1 - (e - 1) / 49)^2 over 50 epochs, e counted from 0.
# The same curve about e = 0: 0.1 * (50 / 49)^2 * (1 - e / 50)^2.
_base_ = './imagenet_resnet_lrnorm.py'

optim_wrapper = dict(optimizer=dict(lr=0.1 * (50 / 49) ** 2))
param_scheduler = dict(
    _delete_=True, type='mmgcp.PolynomialLR', by_epoch=True, total=50, power=2
)
train_cfg = dict(max_epochs=50)
