# The last stage keeps its stride of 2: the covariance sees 7 x 7 positions, and the
# encoder is transferred in the form it was trained in. The authors measured this once
# and never published the weights. GCP_D is not this encoder: docs/detection.md
_base_ = './resnet50-isqrt_8xb32-lrnorm_in1k.py'

model = dict(backbone=dict(last_stage='stride'))
