# DeiT-S and So-ViT-S: embedding, tokens and all 12 blocks.
model = dict(backbone=dict(frozen_stages=12))
