# DropCov's channel dropout on the last map during fine-tuning; the identity at inference.
_base_ = './faster-rcnn_r50-dropcov_fpn_1x_coco.py'

channels = [256, 512, 1024, 2048]
model = dict(
    neck=[
        dict(type='mmgcp.AdaptiveChannelDropout', in_channels=channels),
        dict(type='FPN', in_channels=channels, out_channels=256, num_outs=5),
    ]
)
