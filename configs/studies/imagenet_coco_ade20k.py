# Official encoders, converted, on COCO and ADE20K: the paired configs, three seeds.
#   python tools/study.py configs/studies/imagenet_coco_ade20k.py --dry-run
#   python tools/study.py configs/studies/imagenet_coco_ade20k.py --nproc 8 \
#       --slurm partition=gpu gpus_per_node=8 cpus_per_task=32 timeout_min=2880
title = 'GCP pre-training on ImageNet: COCO and ADE20K, ResNet-50'
work_dir = 'work_dirs/studies/imagenet_coco_ade20k'
baseline = 'gap'
seeds = [0, 1, 2]
primary = ['faster_rcnn/coco/bbox_mAP', 'mask_rcnn/coco/segm_mAP', 'sem_fpn/mIoU']
margin = 0.5

_two_checkpoints = dict(default_hooks=dict(checkpoint=dict(max_keep_ckpts=2)))

# What to download and where it goes: docs/convert.md
encoders = {
    'gap': dict(label='GAP', source='downloads/resnet50-gap.pth'),
    # These two are not published and pre-trained here. They separate the pooling from the
    # resolution of the last stage.
    'gap-native': dict(
        label='GAP, native',
        pretrain='configs/pretrain/resnet50-gap-native_8xb32-lrnorm_in1k.py',
        overrides=_two_checkpoints,
        backbone=dict(last_stage='maxpool'),
    ),
    'isqrt-downsample': dict(
        label='iSQRT-COV, strided',
        pretrain='configs/pretrain/resnet50-isqrt-downsample_8xb32-lrnorm_in1k.py',
        overrides=_two_checkpoints,
        backbone=dict(last_stage='stride'),
    ),
    'gcp-d': dict(label='GCP_D', source='downloads/resnet50-isqrt.pth'),
    'gcp-m': dict(
        label='GCP_M',
        source='downloads/resnet50-isqrt.pth',
        backbone=dict(last_stage='maxpool'),
    ),
    'dropcov': dict(
        label='DropCov',
        source='downloads/resnet50-dropcov.pth',
        backbone=dict(last_stage='maxpool'),
    ),
}

# Batch norms of the last stage are re-estimated in its downstream form, for every encoder.
recalibrate = dict(
    images=10000, config='configs/pretrain/resnet50-gap_8xb32-lrnorm_in1k.py'
)

tasks = dict(
    faster_rcnn=dict(
        label='COCO detection, Faster R-CNN 1x',
        config='configs/detection/faster-rcnn_r50-{encoder}_fpn_1x_coco.py',
        metrics={
            'coco/bbox_mAP': 'box AP (%)',
            'coco/bbox_mAP_50': 'box AP50 (%)',
            'coco/bbox_mAP_75': 'box AP75 (%)',
        },
    ),
    mask_rcnn=dict(
        label='COCO instance segmentation, Mask R-CNN 1x',
        config='configs/detection/mask-rcnn_r50-{encoder}_fpn_1x_coco.py',
        metrics={'coco/bbox_mAP': 'box AP (%)', 'coco/segm_mAP': 'mask AP (%)'},
    ),
    sem_fpn=dict(
        label='ADE20K semantic segmentation, Semantic FPN 160k',
        config='configs/segmentation/fpn_r50-{encoder}_4xb4-160k_ade20k-512x512.py',
        metrics={'mIoU': 'mIoU (%)', 'aAcc': 'pixel accuracy (%)'},
    ),
)

# For the estimate of --dry-run. Multiply-adds per image are those of the three gap
# configs (tools/analysis/complexity.py) at 800 x 1216, 800 x 1216 and 512 x 512, and
# of the encoder of gap-native at 224 x 224; that of isqrt-downsample needs 4.11.
assumptions = dict(
    device='one accelerator',
    sustained_tflops=20.0,
    training_factor=3.0,  # backward costs twice the forward pass
    gmacs=dict(pretrain=6.23, faster_rcnn=196.7, mask_rcnn=249.7, sem_fpn=44.29),
    train_images=dict(
        pretrain=1281167, faster_rcnn=117266, mask_rcnn=117266, sem_fpn=20210
    ),
)

_head = ['backbone', 'pooling', 'AP', 'AP50', 'AP75', 'APS', 'APM', 'APL']
_source = 'official repository of "What Deep CNNs Benefit from Global Covariance Pooling" (CVPR 2020), README'
reference_tables = [
    dict(
        title="The paper's COCO table: Faster R-CNN, box AP",
        source=_source,
        head=_head,
        rows=[
            ['R50', 'GAP', 36.4, 58.2, 39.2, 21.8, 40.0, 46.2],
            ['R50', 'GCP_D', 36.6, 58.4, 39.5, 21.3, 40.8, 47.0],
            ['R50', 'GCP_M', 37.1, 59.1, 39.9, 22.0, 40.9, 47.6],
            ['R101', 'GAP', 38.7, 60.6, 41.9, 22.7, 43.2, 50.4],
            ['R101', 'GCP_D', 39.5, 60.7, 43.1, 22.9, 44.1, 51.4],
            ['R101', 'GCP_M', 39.6, 61.2, 43.1, 23.3, 43.9, 51.3],
        ],
    ),
    dict(
        title="The paper's COCO table: Mask R-CNN, box AP",
        source=_source,
        head=_head,
        rows=[
            ['R50', 'GAP', 37.2, 58.9, 40.3, 22.2, 40.7, 48.0],
            ['R50', 'GCP_D', 37.3, 58.8, 40.4, 22.0, 41.1, 48.2],
            ['R50', 'GCP_M', 37.9, 59.4, 41.3, 22.4, 41.5, 49.0],
            ['R101', 'GAP', 39.4, 60.9, 43.3, 23.0, 43.7, 51.4],
            ['R101', 'GCP_D', 40.3, 61.5, 44.0, 24.1, 44.7, 52.5],
            ['R101', 'GCP_M', 40.7, 62.0, 44.6, 23.9, 45.2, 52.9],
        ],
    ),
    dict(
        title="The paper's COCO table: Mask R-CNN, mask AP",
        source=_source,
        head=_head,
        rows=[
            ['R50', 'GAP', 34.1, 55.5, 36.2, 16.1, 36.7, 50.0],
            ['R50', 'GCP_D', 34.2, 55.3, 36.4, 15.8, 37.1, 50.1],
            ['R50', 'GCP_M', 34.7, 56.3, 36.8, 16.4, 37.5, 50.6],
            ['R101', 'GAP', 35.9, 57.7, 38.4, 16.8, 39.1, 53.6],
            ['R101', 'GCP_D', 36.5, 58.2, 38.9, 17.3, 39.9, 53.5],
            ['R101', 'GCP_M', 36.7, 58.7, 39.1, 17.6, 39.9, 53.7],
        ],
    ),
    dict(
        title="The authors' table of pre-training with the last stride: Faster R-CNN, box AP",
        source='the same README before March 2020; GCP_D is the row without the stride',
        head=['backbone', 'pre-training', 'AP', 'AP50', 'AP75'],
        rows=[
            ['R18', 'iSQRT-COV, stride 1 in the last stage', 30.0, 50.7, 31.4],
            ['R18', 'iSQRT-COV, stride 2', 30.3, 51.0, 32.2],
            ['R50', 'iSQRT-COV, stride 1 in the last stage', 36.6, 58.4, 39.5],
            ['R50', 'iSQRT-COV, stride 2', 36.8, 58.5, 39.7],
            ['R101', 'iSQRT-COV, stride 1 in the last stage', 39.5, 60.7, 43.1],
            ['R101', 'iSQRT-COV, stride 2', 39.6, 60.9, 43.4],
        ],
    ),
]
