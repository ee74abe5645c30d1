# iNaturalist 2017, 5089 species, with the images of ImageNet's recipe. Layout:
# docs/finetune.md
_base_ = './imagenet.py'

data_preprocessor = dict(num_classes=5089)


def loader(split, pipeline):
    return dict(
        dataset=dict(
            _delete_=True,
            type='mmgcp.INaturalist',
            data_root='data/inat2017',
            ann_file=f'{split}2017.json',
            pipeline=pipeline,
        )
    )


train_dataloader = loader('train', {{_base_.train_pipeline}})
val_dataloader = loader('val', {{_base_.test_pipeline}})
test_dataloader = loader('val', {{_base_.test_pipeline}})
