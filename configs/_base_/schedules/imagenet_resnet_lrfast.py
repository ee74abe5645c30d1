# LRfast: lr(e) = 0.1 * (1 - (e - 1) / 52)^11 over 30 epochs, e counted from 0.
# The same curve about e = 0: 0.1 * (53 / 52)^11 * (1 - e / 53)^11.
_base_ = './imagenet_resnet_lrnorm.py'

optim_wrapper = dict(optimizer=dict(lr=0.1 * (53 / 52) ** 11))
param_scheduler = dict(
    _delete_=True, type='mmgcp.PolynomialLR', by_epoch=True, total=53, power=11
)
train_cfg = dict(max_epochs=30)
