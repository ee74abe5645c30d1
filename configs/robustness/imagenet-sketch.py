# ImageNet-Sketch (Wang et al., NeurIPS 2019): 50,000 sketches of all 1000 classes.
_base_ = '../_base_/datasets/imagenet.py'

test_dataloader = dict(
    dataset=dict(data_root='data/imagenet-sketch', split='', data_prefix='sketch')
)
