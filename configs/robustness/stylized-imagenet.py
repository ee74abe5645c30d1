# Stylized-ImageNet (Geirhos et al., ICLR 2019): made on your machine by its authors'
# code. The images are 224 x 224 already, so they are not resized.
_base_ = '../_base_/datasets/imagenet.py'

test_dataloader = dict(
    dataset=dict(
        data_root='data/stylized-imagenet',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
    )
)
