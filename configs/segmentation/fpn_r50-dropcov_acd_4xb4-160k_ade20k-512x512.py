# DropCov's channel dropout on the last map during fine-tuning; the identity at inference.
_base_ = './fpn_r50-dropcov_4xb4-160k_ade20k-512x512.py'

channels = [256, 512, 1024, 2048]
model = dict(
    neck=[
        dict(type='mmgcp.AdaptiveChannelDropout', in_channels=channels),
        dict(type='FPN', in_channels=channels, out_channels=256, num_outs=4),
    ]
)
