# Second-order attention on the maps of the encoder, initialized as the identity.
_base_ = './upernet_r50-gcp-m_4xb4-160k_ade20k-512x512.py'

model = dict(
    neck=dict(type='mmgcp.SecondOrderAttention', in_channels=[256, 512, 1024, 2048])
)
