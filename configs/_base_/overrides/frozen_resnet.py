# The encoder keeps the weights and statistics of its file: stem and all four stages.
model = dict(backbone=dict(frozen_stages=4))
