# The encoder keeps the weights and statistics of its file: stem and all four stages.
# For mmpretrain's Swin this is frozen_stages=3, for DeiT-S and So-ViT-S 12.
_base_ = './mask-rcnn_r50-gcp-m_fpn_1x_coco.py'

model = dict(backbone=dict(frozen_stages=4))
