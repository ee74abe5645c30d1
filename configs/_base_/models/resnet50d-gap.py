# ResNet-50-D: three 3 x 3 convolutions as the stem, average pooling in the shortcuts.
_base_ = './resnet50-gap.py'

model = dict(backbone=dict(deep_stem=True, avg_down=True))
