# python tools/make_subset.py coco data/coco --percent 10
# As many epochs of a tenth of the images: lengthen the schedule as needed.
train_dataloader = dict(
    dataset=dict(ann_file='annotations/instances_train2017_10pct_seed0.json')
)
