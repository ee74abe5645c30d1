# Real photographs: CIFAR-10, then blood cells (BCCD) and streets (CamVid). Sources of the
# data: docs/photographs.md. Two CPU cores are enough.
_base_ = './scenes.py'

title = 'GCP pre-training on CIFAR-10: cells and streets'
work_dir = 'work_dirs/studies/photographs'
# The seeds, contrasts, margin and forms of the last stage are those of the study on
# scenes; 8 x 8 positions for 32 channels.
encoders = {
    name: dict(pretrain=f'configs/pretrain/resnet18-w8-{name}_cifar10.py')
    for name in ('gap', 'gap-native', 'isqrt', 'dropcov')
}
# Fixed before anything ran; see "Reading the tables" in docs/studies.md.
primary = ['cells/coco/bbox_mAP', 'streets/mIoU']

_ap = {'coco/bbox_mAP': 'box AP (%)', 'coco/bbox_mAP_50': 'box AP50 (%)'}
_iou = {'mIoU': 'mIoU (%)', 'aAcc': 'pixel accuracy (%)'}
data = dict(_delete_=True)
tasks = dict(
    _delete_=True,
    frozen_streets=dict(
        label='streets, linear head on a frozen encoder',
        config='configs/segmentation/linear_r18-w8_camvid.py',
        metrics=_iou,
    ),
    frozen_cells=dict(
        label='cells, detector on a frozen encoder',
        config='configs/detection/faster-rcnn_r18-w8_fpn_bccd.py',
        overrides=dict(model=dict(backbone=dict(frozen_stages=4))),
        metrics=_ap,
    ),
    streets=dict(
        label='streets, fine-tuned',
        config='configs/segmentation/fpn_r18-w8_camvid.py',
        metrics=_iou,
    ),
    cells=dict(
        label='cells, fine-tuned',
        config='configs/detection/faster-rcnn_r18-w8_fpn_bccd.py',
        metrics=_ap,
    ),
)
analysis_options = dict(_delete_=True)
expected_seconds = dict(
    _delete_=True,
    pretrain=200,
    frozen_streets=40,
    frozen_cells=60,
    streets=60,
    cells=60,
)
