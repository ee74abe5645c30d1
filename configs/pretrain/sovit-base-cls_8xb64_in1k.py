# DeiT-B of the released DropCov code: half the batch and the rate of the smaller ones,
# and twice their weight decay.
_base_ = './sovit-small-cls_8xb128_in1k.py'

model = dict(backbone=dict(arch='deit-base'), head=dict(in_channels=768))
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=5e-4, weight_decay=0.065))
auto_scale_lr = dict(base_batch_size=512)
