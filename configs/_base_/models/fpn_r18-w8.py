# Semantic FPN on scenes: 32 channels (256 in the neck, 128 in the head of ADE20K).
_base_ = './fpn_r50.py'

model = dict(
    data_preprocessor=dict(size=(96, 96)),
    # An eighth of the channels of ResNet-18, a stem of stride 2, stages 2 to 4. The
    # encoder file is given by whoever trains: there is none to load by default.
    backbone=dict(
        _delete_=True,
        type='mmgcp.GCPResNet',
        depth=18,
        base_channels=8,
        stem_channels=8,
        stem_pool=False,
        last_stage='stride',
        num_stages=4,
        out_indices=(1, 2, 3),
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        norm_eval=False,
        style='pytorch',
        contract_dilation=True,
    ),
    neck=dict(in_channels=[16, 32, 64], out_channels=32, num_outs=3),
    decode_head=dict(
        in_channels=[32, 32, 32],
        in_index=[0, 1, 2],
        feature_strides=[4, 8, 16],
        channels=32,
        num_classes=10,
        # Nine pixels in ten are background and ignored: the mean is over the others.
        loss_decode=dict(avg_non_ignore=True),
    ),
)
