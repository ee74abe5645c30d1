"""Each gap baseline is the framework's own config, but for the listed differences."""

import fnmatch
import re

import pytest
from zoo import CONFIGS, FOLDERS, differences, framework_config, read

ENCODER = {
    'model.backbone.type': 'the GCP encoder',
    'model.backbone.init_cfg.*': 'loaded strictly, from a file',
}
RESNET = {
    **ENCODER,
    'model.backbone.last_stage': "'stride' (in dilated forms 'native') is a plain ResNet",
}
SEGMENTATION = {
    'model.pretrained': 'init_cfg of the backbone instead',
    'auto_scale_lr.*': 'there are none, and --auto-scale-lr needs them',
}
STRIDE_32 = {**RESNET, **SEGMENTATION, 'model.backbone.strides.*': 'by last_stage'}
STRIDE_8 = {**RESNET, **SEGMENTATION}
SWIN = {
    **ENCODER,
    'model.backbone.*': "mmpretrain's class: arch names what is spelled out there",
}
TORCH = {'model.head.init_cfg.type': 'as torch makes it, as published'}
PRETRAIN_RESNET = {
    **TORCH,
    'model.backbone.zero_init_residual': 'False as published',
    '*.pipeline.1.backend': 'Pillow as published',
    'model.backbone.type': 'the GCP encoder',
    'model.backbone.last_stage': 'a plain ResNet',
    'auto_scale_lr.enable': 'spelled out',
}
TRANSFORMER = {
    'auto_scale_lr.enable': 'spelled out',
    'custom_hooks.0.*': 'EMA of the recipe',
    'model.backbone.drop_path_rate': '0.1 in the recipe',
    'optim_wrapper.clip_grad.max_norm': 'no clipping in the recipe',
    'optim_wrapper.optimizer.weight_decay': '0.03 in the recipe',
    'param_scheduler.*': 'the schedule of the recipe',
    'train_cfg.max_epochs': '300 and 10 of cool-down',
    '*_dataloader.batch_size': '8 x 128 in the recipe',
    'train_dataloader.dataset.pipeline.1.*': 'random interpolation of the crop',
}
ADE = '160k_ade20k-512x512'
# What may differ, by the name of our config.
ALLOWED = {
    'faster-rcnn_r50-gap_fpn_1x_coco': RESNET,
    'mask-rcnn_r50-gap_fpn_1x_coco': RESNET,
    'cascade-mask-rcnn_r50-gap_fpn_1x_coco': RESNET,
    'retinanet_r50-gap_fpn_1x_coco': {
        **RESNET,
        'tta_model.*': 'no test-time augmentation here',
    },
    'dino-4scale_r50-gap_8xb2-12e_coco': {
        **RESNET,
        'auto_scale_lr.enable': 'spelled out',
    },
    'mask-rcnn_r50-gap_fpn_ms-poly-3x_coco': {
        **RESNET,
        'param_scheduler.1.*': 'epochs counted singly: 3 x 12, steps at 3 x (9, 11)',
        'train_cfg.*': 'likewise, evaluated as often',
        'train_dataloader.dataset.*': 'likewise: not wrapped in RepeatDataset',
        'test_dataloader.*': 'one image at a time, as in the other configs',
        'val_dataloader.*': 'likewise',
        '*_evaluator.format_only': 'spelled out',
    },
    'mask-rcnn_swin-t-gap_fpn_1x_coco': SWIN,
    f'upernet_r50-gap_4xb4-{ADE}': STRIDE_32,
    f'fpn_r50-gap_4xb4-{ADE}': {
        **STRIDE_32,
        'model.auxiliary_head': 'None in place of absent',
    },
    f'pspnet_r50-d8-gap_4xb4-{ADE}': STRIDE_8,
    f'deeplabv3plus_r50-d8-gap_4xb4-{ADE}': STRIDE_8,
    f'upernet_swin-t-gap_8xb2-{ADE}': {
        **SWIN,
        **SEGMENTATION,
        'optim_wrapper.clip_grad': 'None in place of absent',
        'optim_wrapper.paramwise_cfg.custom_keys.cls_token.*': 'Swin has none',
        'optim_wrapper.paramwise_cfg.custom_keys.pos_embed.*': 'Swin has none',
    },
    f'upernet_convnext-t-gap_8xb2-{ADE}': {
        **SEGMENTATION,
        'model.backbone.init_cfg.*': 'loaded strictly, from a file',
        'model.test_cfg.*': 'whole images, as the other encoders',
        'optim_wrapper.clip_grad': 'None in place of absent',
        'optim_wrapper.type': '--amp',
        'optim_wrapper.loss_scale': '--amp',
    },
    'mask-rcnn_convnext-t-gap_fpn_1x_coco': {
        'model.backbone.init_cfg.*': 'loaded strictly, from a file',
        'optim_wrapper.type': '--amp',
        'param_scheduler.1.*': '12 epochs, not 36',
        'train_cfg.max_epochs': '12 epochs, not 36',
        'train_dataloader.dataset.pipeline.*': 'one scale, as the other 1x configs',
    },
    f'upernet_deit-s-cls_8xb2-{ADE}': {
        **SWIN,
        **SEGMENTATION,
        'optim_wrapper.clip_grad': 'None in place of absent',
        'optim_wrapper.paramwise_cfg.custom_keys.absolute_*': "Swin's",
        'optim_wrapper.paramwise_cfg.custom_keys.relative_*': "Swin's",
    },
    **{f'resnet{n}-gap_8xb32-lrnorm_in1k': PRETRAIN_RESNET for n in (18, 34, 50, 101)},
    'mobilenet-v2-gap_4xb24-lrnorm_in1k': {
        'model.neck.*': 'dropout 0.2 as published',
        'auto_scale_lr.*': 'batch 96 in the paper',
        'train_dataloader.batch_size': 'batch 96 in the paper',
        'train_cfg.max_epochs': '400 in the paper',
    },
    'shufflenet-v2-1x-gap_16xb64-lrnorm_in1k': {
        **TORCH,
        'model.backbone.type': 'leaves the initialization to init_cfg',
        'model.backbone.init_cfg.type': 'as torch makes it, as published',
        'auto_scale_lr.enable': 'spelled out',
        'optim_wrapper.paramwise_cfg.*': 'the paper decays the norms too',
        'param_scheduler.*': 'linear from the first iteration on',
        'train_cfg.max_epochs': '240 in the paper',
        'train_dataloader.dataset.pipeline.*': 'color jitter of the paper',
    },
    'swin-tiny-gap_8xb128_in1k': TRANSFORMER,
    'resnet50d-gap_8xb32-lrnorm_in1k': {
        **{k: v for k, v in PRETRAIN_RESNET.items() if 'pipeline' not in k},
        'model.backbone.avg_down': 'spelled out',
        'model.backbone.deep_stem': 'spelled out',
    },
    'efficientnet-b0-gap_8xb32-lrnorm_in1k': {
        'auto_scale_lr.enable': 'spelled out',
        '*_dataloader.dataset.pipeline.*': 'the data of the ResNets of the paper',
    },
    'convnext-tiny-gap_8xb128_in1k': {
        **{
            k: v
            for k, v in TRANSFORMER.items()
            if not re.search('drop_path|max_norm', k)
        },
        'auto_scale_lr.base_batch_size': '8 x 128 in the recipe',
        'model.backbone.gap_before_final_norm': 'the necks pool',
        'model.head.cal_acc': 'spelled out',
        'model.neck.type': 'the necks pool',
        'optim_wrapper.clip_grad': 'no clipping in the recipe',
        'optim_wrapper.optimizer.lr': 'at batch 1024',
        'optim_wrapper.paramwise_cfg.custom_keys..*': "Swin's",
    },
    'deit-small-cls_8xb128_in1k': {
        **TRANSFORMER,
        'optim_wrapper.paramwise_cfg.custom_keys..absolute_*': "Swin's",
        'optim_wrapper.paramwise_cfg.custom_keys..relative_*': "Swin's",
    },
}
# The framework's name, where it is not ours without pooling and schedule.
THEIRS = {
    'mask-rcnn_swin-t-gap_fpn_1x_coco': 'mask-rcnn_swin-t-p4-w7_fpn_1x_coco',
    f'upernet_swin-t-gap_8xb2-{ADE}': (
        f'swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-{ADE}'
    ),
    f'upernet_deit-s-cls_8xb2-{ADE}': f'vit_deit-s16-ln_mln_upernet_8xb2-{ADE}',
    'mask-rcnn_convnext-t-gap_fpn_1x_coco': (
        'mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco'
    ),
    f'upernet_convnext-t-gap_8xb2-{ADE}': f'convnext-tiny_upernet_8xb2-amp-{ADE}',
    'mobilenet-v2-gap_4xb24-lrnorm_in1k': 'mobilenet-v2_8xb32_in1k',
    'swin-tiny-gap_8xb128_in1k': 'swin-tiny_16xb64_in1k',
    'deit-small-cls_8xb128_in1k': 'deit-small_4xb256_in1k',
    'convnext-tiny-gap_8xb128_in1k': 'convnext-tiny_32xb128_in1k',
    'resnet50d-gap_8xb32-lrnorm_in1k': 'resnetv1d50_8xb32_in1k',
}


@pytest.mark.parametrize('name', ALLOWED)
def test_gap_baseline_is_the_frameworks(name):
    (path,) = CONFIGS.glob(f'*/{name}.py')
    framework = FOLDERS[path.parent.name]
    pytest.importorskip(framework)
    theirs = THEIRS.get(name, name.replace('-gap', '').replace('-lrnorm', ''))
    found = differences(read(path), framework_config(framework, theirs))
    covered = {pattern: fnmatch.filter(found, pattern) for pattern in ALLOWED[name]}
    assert found == {name for names in covered.values() for name in names}
    assert all(covered.values()), 'listed, but not different any more'


def test_every_gap_baseline_is_held_against_a_framework():
    """But for schedules of the papers and timm; ResNet-101 is compared below."""
    baselines = {
        path.stem
        for folder in FOLDERS
        for path in (CONFIGS / folder).glob('*.py')
        if re.search('-(gap|cls)_', path.stem)
        and not re.search(
            'scenes|cifar10|bccd|camvid|lrfast|lradju|sovit|(^|_)vit-s|_r101', path.stem
        )
    }
    assert baselines == set(ALLOWED)


def pairs(of: str, partner: str, allowed: tuple[str, ...]) -> list:
    """Configs with ``of`` in their name and the ones with ``partner`` there."""
    return [
        pytest.param(path, other, allowed, id=path.stem)
        for folder in ('detection', 'segmentation')
        for path in sorted((CONFIGS / folder).glob(f'*{of}*'))
        if (other := path.with_name(path.name.replace(of, partner, 1))).exists()
    ]


LAST_STAGE = 'model.backbone.last_stage'
ENCODER_FILE = 'model.backbone.init_cfg.checkpoint'
DEPTH = 'model.backbone.depth'


@pytest.mark.parametrize(
    ('path', 'partner', 'allowed'),
    [
        *pairs('-gcp-d_', '-gap_', (ENCODER_FILE,)),
        *pairs('-gcp-m_', '-gap_', (ENCODER_FILE, LAST_STAGE)),
        *pairs('-gcp_', '-gap_', (ENCODER_FILE,)),
        *pairs('-gap-native_', '-gap_', (ENCODER_FILE, LAST_STAGE)),
        *pairs('-gap-native_', '-gcp-m_', (ENCODER_FILE,)),
        *pairs('-isqrt-downsample_', '-gap_', (ENCODER_FILE,)),
        *pairs('-dropcov_', '-gap_', (ENCODER_FILE, LAST_STAGE)),
        *pairs('_r101-', '_r50-', (ENCODER_FILE, DEPTH)),
    ],
)
def test_a_pair_differs_in_the_encoder_alone(path, partner, allowed):
    found = differences(read(path), read(partner))
    assert found <= set(allowed)
    assert ENCODER_FILE in found
