# ImageNet-P (Hendrycks and Dietterich, ICLR 2019): 10 perturbations in videos of 224 x
# 224. A batch is about one video; its frames come in order, so this runs in one process.
_base_ = '../_base_/datasets/imagenet.py'

test_dataloader = dict(
    batch_size=31,
    dataset=dict(
        _delete_=True,
        type='mmgcp.ImageNetP',
        data_root='data/imagenet-p',
        pipeline=[
            dict(type='PackInputs', meta_keys=('video', 'frame', 'perturbation'))
        ],
        test_mode=True,
    ),
)
test_evaluator = dict(_delete_=True, type='mmgcp.FlipRate')
