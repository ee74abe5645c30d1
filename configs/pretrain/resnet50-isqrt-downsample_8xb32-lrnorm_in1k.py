# The last stage keeps stride 2, in pre-training (7 x 7 positions) and downstream. The
# authors reported this encoder once and never published its weights. It is not GCP_D:
# docs/detection.md
_base_ = './resnet50-isqrt_8xb32-lrnorm_in1k.py'

model = dict(backbone=dict(last_stage='stride'))
