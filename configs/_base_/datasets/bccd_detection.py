# BCCD, blood cells under a microscope, as COCO json (tools/prepare_photographs.py): a
# quarter of the published size, 640 x 480.
_base_ = './scenes_detection.py'

data_root = '{{$MMGCP_PHOTOGRAPHS:data/photographs}}/bccd/'
metainfo = dict(classes=('RBC', 'WBC', 'Platelets'))
scale = (160, 120)
backend_args = None

train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=backend_args),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=backend_args),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]


def files(split):
    return dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file=f'{split}.json',
        data_prefix=dict(img=f'{split}/'),
    )


train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **files('train')))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **files('val')))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline, **files('test')))
val_evaluator = dict(ann_file=f'{data_root}val.json')
test_evaluator = dict(ann_file=f'{data_root}test.json')
