# Second-order attention on the maps of the encoder, before the FPN. It is initialized
# as the identity, so training starts from the config below.
_base_ = './mask-rcnn_r50-gcp-m_fpn_1x_coco.py'

channels = [256, 512, 1024, 2048]
model = dict(
    neck=[
        dict(type='mmgcp.SecondOrderAttention', in_channels=channels),
        dict(type='FPN', in_channels=channels, out_channels=256, num_outs=5),
    ]
)
