# Patch embedding and all four stages; mmpretrain counts the stages from 0.
model = dict(backbone=dict(frozen_stages=3))
