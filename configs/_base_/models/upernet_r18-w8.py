# UPerNet, narrowed: heads of 32 channels (512 and 256).
_base_ = './upernet_r50.py'

model = dict(
    data_preprocessor=dict(size=(96, 96)),
    backbone=dict(
        _delete_=True,
        type='mmgcp.GCPResNet',
        depth=18,
        base_channels=8,
        stem_channels=8,
        stem_pool=False,
        num_stages=4,
        out_indices=(1, 2, 3),
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        norm_eval=False,
        style='pytorch',
        contract_dilation=True,
        last_stage='stride',
    ),
    # Nine pixels in ten are background and ignored: the mean is over the others.
    decode_head=dict(
        in_channels=[16, 32, 64],
        in_index=[0, 1, 2],
        channels=32,
        num_classes=10,
        loss_decode=dict(avg_non_ignore=True),
    ),
    auxiliary_head=dict(
        in_channels=32,
        in_index=1,
        channels=32,
        num_classes=10,
        loss_decode=dict(avg_non_ignore=True),
    ),
)
