_base_ = [
    '../_base_/models/dino-4scale_r50.py',
    '../_base_/datasets/coco_detection_detr.py',
    '../_base_/schedules/coco_dino_12e.py',
    '../_base_/default_runtime_det.py',
]
