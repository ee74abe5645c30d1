# The encoder that the GCP_D detectors were pre-trained as: the last stage keeps its
# stride of 2, the covariance sees 7 x 7 positions. Its weights were never published.
_base_ = './resnet50-isqrt_8xb32-lrnorm_in1k.py'

model = dict(backbone=dict(last_stage='stride'))
