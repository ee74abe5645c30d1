# CamVid with its 11 classes, streets seen from a car (tools/prepare_photographs.py), at
# half of 320 x 240. Label 11 is void; it is neither trained on nor scored.
dataset_type = 'BaseSegDataset'
data_root = '{{$MMGCP_PHOTOGRAPHS:data/photographs}}/camvid/'
metainfo = dict(
    classes=(
        'sky',
        'building',
        'pole',
        'road',
        'pavement',
        'tree',
        'sign',
        'fence',
        'car',
        'pedestrian',
        'bicyclist',
    ),
    palette=[
        [128, 128, 128],
        [128, 0, 0],
        [192, 192, 128],
        [128, 64, 128],
        [60, 40, 222],
        [128, 128, 0],
        [192, 128, 128],
        [64, 64, 128],
        [64, 0, 128],
        [64, 64, 0],
        [0, 128, 192],
    ],
)
void = 11

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale=(160, 120), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(160, 120), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]


def loader(split, pipeline, shuffle=False):
    return dict(
        batch_size=8,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=shuffle),
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            metainfo=metainfo,
            img_suffix='.jpg',
            ignore_index=void,
            data_prefix=dict(img_path=f'img/{split}', seg_map_path=f'ann/{split}'),
            pipeline=pipeline,
        ),
    )


train_dataloader = loader('train', train_pipeline, shuffle=True)
val_dataloader = loader('val', test_pipeline)
test_dataloader = loader('test', test_pipeline)
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'], ignore_index=void)
test_evaluator = val_evaluator
