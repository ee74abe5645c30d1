# CUB-200-2011: the short side to 448 pixels, the center, flips. Layout: docs/finetune.md
dataset_type = 'CUB'
data_preprocessor = dict(
    num_classes=200,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
resize = dict(type='ResizeEdge', scale=448, edge='short', backend='pillow')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    resize,
    dict(type='CenterCrop', crop_size=448),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [step for step in train_pipeline if step['type'] != 'RandomFlip']


def loader(split, pipeline, shuffle):
    return dict(
        batch_size=10,
        num_workers=4,
        dataset=dict(
            type=dataset_type,
            data_root='data/CUB_200_2011',
            split=split,
            pipeline=pipeline,
        ),
        sampler=dict(type='DefaultSampler', shuffle=shuffle),
    )


train_dataloader = loader('train', train_pipeline, shuffle=True)
val_dataloader = loader('test', test_pipeline, shuffle=False)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
