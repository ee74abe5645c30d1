# python tools/make_subset.py coco data/coco --percent 1
# As many epochs of a hundredth of the images: lengthen the schedule as needed.
train_dataloader = dict(
    dataset=dict(ann_file='annotations/instances_train2017_1pct_seed0.json')
)
