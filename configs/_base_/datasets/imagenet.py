# ImageNet-1k, 8 GPUs x 32, resized by Pillow as in the published code.
# Layout and downloads: docs/pretrain.md
dataset_type = 'ImageNet'
data_preprocessor = dict(
    num_classes=1000,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]


def loader(split, pipeline, shuffle):
    return dict(
        batch_size=32,
        num_workers=5,
        dataset=dict(
            type=dataset_type,
            data_root='data/imagenet',
            split=split,
            pipeline=pipeline,
        ),
        sampler=dict(type='DefaultSampler', shuffle=shuffle),
    )


train_dataloader = loader('train', train_pipeline, shuffle=True)
val_dataloader = loader('val', test_pipeline, shuffle=False)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
