# A tenth of the training images, written by
#   python tools/make_subset.py coco data/coco --percent 10
# 12 epochs are a tenth of the iterations: lengthen the schedule as needed.
_base_ = './mask-rcnn_r50-gcp-m_fpn_1x_coco.py'

train_dataloader = dict(
    dataset=dict(ann_file='annotations/instances_train2017_10pct_seed0.json')
)
