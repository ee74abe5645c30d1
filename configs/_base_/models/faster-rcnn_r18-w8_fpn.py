# Faster R-CNN on scenes: images of 96 pixels with 2 to 6 digits of 17 to 40 pixels.
# The values that COCO's config has are in parentheses.
_base_ = './faster-rcnn_r50_fpn.py'

strides = [4, 8, 16, 32]
proposals = dict(nms_pre=200, max_per_img=50)  # (1000 or 2000, 1000)
model = dict(
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
        frozen_stages=1,
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=True,
        style='pytorch',
    ),
    # Strides 4, 8, 16 from the encoder and 32 from the neck (5 levels). 32 channels
    # (256).
    neck=dict(in_channels=[16, 32, 64], out_channels=32, num_outs=4),
    rpn_head=dict(
        in_channels=32,
        feat_channels=32,
        # Anchors of 4 (8) strides: 16 to 128 pixels.
        anchor_generator=dict(scales=[4], strides=strides),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(
            roi_layer=dict(sampling_ratio=2),  # (0)
            out_channels=32,
            # A digit belongs to strides 4 and 8 (56, the default).
            finest_scale=28,
        ),
        bbox_head=dict(in_channels=32, fc_out_channels=128, num_classes=10),  # (1024)
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),  # (256)
        rpn_proposal=proposals,
        rcnn=dict(sampler=dict(num=32)),  # (512)
    ),
    test_cfg=dict(rpn=proposals, rcnn=dict(max_per_img=50)),  # (100)
)
