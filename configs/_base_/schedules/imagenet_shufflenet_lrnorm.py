# lr(i) = 0.5 * (1 - i / total) at iteration i, 240 epochs, batch 1024.
# LRfast and LRadju differ in the number of epochs alone.
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.5, momentum=0.9, weight_decay=0.00004)
)
param_scheduler = dict(
    type='mmgcp.PolynomialLR',
    by_epoch=True,
    total=240,
    power=1,
    convert_to_iter_based=True,
)
train_cfg = dict(by_epoch=True, max_epochs=240, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(enable=False, base_batch_size=1024)
