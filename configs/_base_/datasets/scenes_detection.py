dataset_type = 'CocoDataset'
data_root = '{{$MMGCP_SCENES:data/scenes}}/detection/'
metainfo = dict(classes=('0', '1', '2', '3', '4', '5', '6', '7', '8', '9'))
backend_args = None

# No flip: a mirrored digit is not a digit.
train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=backend_args),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(96, 96), keep_ratio=True),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=backend_args),
    dict(type='Resize', scale=(96, 96), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]


def dataset(split, **options):
    return dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        ann_file=f'annotations/instances_{split}.json',
        data_prefix=dict(img=f'{split}/'),
        backend_args=backend_args,
        **options,
    )


def test_loader(split):
    return dict(
        batch_size=8,
        num_workers=0,
        drop_last=False,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dataset(split, test_mode=True, pipeline=test_pipeline),
    )


def evaluator(split):
    return dict(
        type='CocoMetric',
        ann_file=f'{data_root}annotations/instances_{split}.json',
        metric='bbox',
        format_only=False,
        backend_args=backend_args,
    )


train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dataset(
        'train',
        filter_cfg=dict(filter_empty_gt=True, min_size=8),
        pipeline=train_pipeline,
    ),
)
val_dataloader, test_dataloader = test_loader('val'), test_loader('test')
val_evaluator, test_evaluator = evaluator('val'), evaluator('test')
