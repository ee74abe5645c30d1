# A tenth of the training images, written by
#   python tools/make_subset.py ade20k data/ade/ADEChallengeData2016 --percent 10
# 160k iterations are 1267 epochs of them: shorten the schedule as needed.
_base_ = './upernet_r50-gcp-m_4xb4-160k_ade20k-512x512.py'

train_dataloader = dict(dataset=dict(ann_file='lists/training_10pct_seed0.txt'))
