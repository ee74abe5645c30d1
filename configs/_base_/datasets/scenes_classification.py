dataset_type = 'CustomDataset'
data_root = '{{$MMGCP_SCENES:data/scenes}}/classification/'
data_preprocessor = dict(
    num_classes=10,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

# No flip and no crop: the generator already varies scale, rotation, color and
# background, and a mirrored digit is not a digit.
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]


def loader(split, batch_size, shuffle=False, **options):
    return dict(
        batch_size=batch_size,
        # Decoding 48 x 48 pixels is cheaper than transferring them from a worker.
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


train_dataloader = loader('train', batch_size=32, shuffle=True)
val_dataloader = loader('val', batch_size=64, test_mode=True)
test_dataloader = loader('test', batch_size=64, test_mode=True)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
