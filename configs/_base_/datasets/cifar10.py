# CIFAR-10 in class folders (tools/prepare_photographs.py), enlarged to 64 x 64: the
# encoders of scenes then end in 8 x 8 positions at stride 8.
dataset_type = 'CustomDataset'
data_root = '{{$MMGCP_PHOTOGRAPHS:data/photographs}}/cifar10/'
data_preprocessor = dict(
    num_classes=10,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='Resize', scale=64),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=64),
    dict(type='PackInputs'),
]


def loader(split, pipeline, shuffle=False, **options):
    return dict(
        batch_size=64,
        # Decoding images this small is cheaper than transferring them from a worker.
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=shuffle),
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            data_prefix=split,
            pipeline=pipeline,
            **options,
        ),
    )


train_dataloader = loader('train', train_pipeline, shuffle=True)
val_dataloader = loader('val', test_pipeline, test_mode=True)
test_dataloader = loader('test', test_pipeline, test_mode=True)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
