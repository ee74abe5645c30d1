# FGVC-Aircraft, 100 variants: the whole image at 512 x 512, the center, flips. Layout:
# docs/finetune.md
dataset_type = 'FGVCAircraft'
data_preprocessor = dict(
    num_classes=100,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
resize = dict(type='Resize', scale=(512, 512), backend='pillow')
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
            data_root='data/fgvc-aircraft-2013b',
            split=split,
            pipeline=pipeline,
        ),
        sampler=dict(type='DefaultSampler', shuffle=shuffle),
    )


train_dataloader = loader('trainval', train_pipeline, shuffle=True)
val_dataloader = loader('test', test_pipeline, shuffle=False)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
