# fast-MPN-COV with ResNet-50: 100 epochs at a constant learning rate, batch 10, weight
# decay 1e-4, five times the rate for the classifier.
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=1.2e-3, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={'head.fc': dict(lr_mult=5)}),
)
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(enable=False, base_batch_size=10)
