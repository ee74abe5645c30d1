# python tools/make_subset.py ade20k data/ade/ADEChallengeData2016 --percent 10
# As many iterations over a tenth of the images: shorten the schedule as needed.
train_dataloader = dict(dataset=dict(ann_file='lists/training_10pct_seed0.txt'))
