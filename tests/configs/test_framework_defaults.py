"""Each gap baseline is the framework's own config, but for the listed differences."""

import pytest
from mmengine.config import Config
from zoo import CONFIGS, FOLDERS, differences, framework_config, outside, unused

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
PRETRAIN_RESNET = {
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
    'train_dataloader.batch_size': '8 x 128 in the recipe',
    'test_dataloader.batch_size': 'as in training',
    'val_dataloader.batch_size': 'as in training',
    'train_dataloader.dataset.pipeline.1.*': 'random interpolation of the crop',
}
ADE = '160k_ade20k-512x512'
PAIRS = [
    ('faster-rcnn_r50-gap_fpn_1x_coco', 'faster-rcnn_r50_fpn_1x_coco', RESNET),
    ('faster-rcnn_r101-gap_fpn_1x_coco', 'faster-rcnn_r101_fpn_1x_coco', RESNET),
    ('mask-rcnn_r50-gap_fpn_1x_coco', 'mask-rcnn_r50_fpn_1x_coco', RESNET),
    ('mask-rcnn_r101-gap_fpn_1x_coco', 'mask-rcnn_r101_fpn_1x_coco', RESNET),
    (
        'cascade-mask-rcnn_r50-gap_fpn_1x_coco',
        'cascade-mask-rcnn_r50_fpn_1x_coco',
        RESNET,
    ),
    (
        'retinanet_r50-gap_fpn_1x_coco',
        'retinanet_r50_fpn_1x_coco',
        {**RESNET, 'tta_model.*': 'no test-time augmentation here'},
    ),
    (
        'dino-4scale_r50-gap_8xb2-12e_coco',
        'dino-4scale_r50_8xb2-12e_coco',
        {**RESNET, 'auto_scale_lr.enable': 'spelled out'},
    ),
    (
        'mask-rcnn_r50-gap_fpn_ms-poly-3x_coco',
        'mask-rcnn_r50_fpn_ms-poly-3x_coco',
        {
            **RESNET,
            'param_scheduler.1.*': 'epochs counted singly: 3 x 12, steps at 3 x (9, 11)',
            'train_cfg.*': 'likewise, evaluated as often',
            'train_dataloader.dataset.*': 'likewise: not wrapped in RepeatDataset',
            'test_dataloader.*': 'one image at a time, as in the other configs',
            'val_dataloader.*': 'likewise',
            'test_evaluator.format_only': 'spelled out',
            'val_evaluator.format_only': 'spelled out',
        },
    ),
    ('mask-rcnn_swin-t-gap_fpn_1x_coco', 'mask-rcnn_swin-t-p4-w7_fpn_1x_coco', SWIN),
    (f'upernet_r50-gap_4xb4-{ADE}', f'upernet_r50_4xb4-{ADE}', STRIDE_32),
    (f'upernet_r101-gap_4xb4-{ADE}', f'upernet_r101_4xb4-{ADE}', STRIDE_32),
    (
        f'fpn_r50-gap_4xb4-{ADE}',
        f'fpn_r50_4xb4-{ADE}',
        {**STRIDE_32, 'model.auxiliary_head': 'None in place of absent'},
    ),
    (
        f'fpn_r101-gap_4xb4-{ADE}',
        f'fpn_r101_4xb4-{ADE}',
        {
            **STRIDE_32,
            'model.auxiliary_head': 'None in place of absent',
            'model.backbone.depth': "the framework's assigns model twice and loses it",
        },
    ),
    (f'pspnet_r50-d8-gap_4xb4-{ADE}', f'pspnet_r50-d8_4xb4-{ADE}', STRIDE_8),
    (f'pspnet_r101-d8-gap_4xb4-{ADE}', f'pspnet_r101-d8_4xb4-{ADE}', STRIDE_8),
    (
        f'deeplabv3plus_r50-d8-gap_4xb4-{ADE}',
        f'deeplabv3plus_r50-d8_4xb4-{ADE}',
        STRIDE_8,
    ),
    (
        f'deeplabv3plus_r101-d8-gap_4xb4-{ADE}',
        f'deeplabv3plus_r101-d8_4xb4-{ADE}',
        STRIDE_8,
    ),
    (
        f'upernet_swin-t-gap_8xb2-{ADE}',
        f'swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-{ADE}',
        {
            **SWIN,
            **SEGMENTATION,
            'optim_wrapper.clip_grad': 'None in place of absent',
            'optim_wrapper.paramwise_cfg.custom_keys.cls_token.*': 'Swin has none',
            'optim_wrapper.paramwise_cfg.custom_keys.pos_embed.*': 'Swin has none',
        },
    ),
    (
        f'upernet_deit-s-cls_8xb2-{ADE}',
        f'vit_deit-s16-ln_mln_upernet_8xb2-{ADE}',
        {
            **SWIN,
            **SEGMENTATION,
            'optim_wrapper.clip_grad': 'None in place of absent',
            'optim_wrapper.paramwise_cfg.custom_keys.absolute_*': "Swin's",
            'optim_wrapper.paramwise_cfg.custom_keys.relative_*': "Swin's",
        },
    ),
    *[
        (f'resnet{n}-gap_8xb32-lrnorm_in1k', f'resnet{n}_8xb32_in1k', PRETRAIN_RESNET)
        for n in (18, 34, 50, 101)
    ],
    (
        'mobilenet-v2-gap_4xb24-lrnorm_in1k',
        'mobilenet-v2_8xb32_in1k',
        {
            'auto_scale_lr.*': 'batch 96 in the paper',
            'train_dataloader.batch_size': 'batch 96 in the paper',
            'train_cfg.max_epochs': '400 in the paper',
        },
    ),
    (
        'shufflenet-v2-1x-gap_16xb64-lrnorm_in1k',
        'shufflenet-v2-1x_16xb64_in1k',
        {
            'auto_scale_lr.enable': 'spelled out',
            'optim_wrapper.paramwise_cfg.*': 'the paper decays the norms too',
            'param_scheduler.*': 'linear from the first iteration on',
            'train_cfg.max_epochs': '240 in the paper',
            'train_dataloader.dataset.pipeline.*': 'color jitter of the paper',
        },
    ),
    ('swin-tiny-gap_8xb128_in1k', 'swin-tiny_16xb64_in1k', TRANSFORMER),
    (
        'deit-small-cls_8xb128_in1k',
        'deit-small_4xb256_in1k',
        {
            **TRANSFORMER,
            'optim_wrapper.paramwise_cfg.custom_keys..absolute_*': "Swin's",
            'optim_wrapper.paramwise_cfg.custom_keys..relative_*': "Swin's",
        },
    ),
]


@pytest.mark.parametrize(
    ('ours', 'theirs', 'allowed'), PAIRS, ids=[p[0] for p in PAIRS]
)
def test_gap_baseline_is_the_frameworks(ours, theirs, allowed):
    (path,) = CONFIGS.glob(f'*/{ours}.py')
    framework = FOLDERS[path.parent.name]
    pytest.importorskip(framework)
    found = differences(Config.fromfile(path), framework_config(framework, theirs))
    assert outside(found, allowed) == set()
    assert unused(found, allowed) == set(), 'listed, but not different any more'


def test_every_gap_baseline_is_held_against_a_framework():
    """None is left out: schedules of the papers have no counterpart."""
    baselines = {
        path.stem
        for folder in FOLDERS
        for path in (CONFIGS / folder).glob('*.py')
        if ('-gap_' in path.stem or '-cls_' in path.stem)
        and not any(
            word in path.stem for word in ('scenes', 'lrfast', 'lradju', 'sovit')
        )
    }
    assert baselines == {ours for ours, _, _ in PAIRS}


ENCODERS = ('-gap', '-gcp-d', '-gcp-m', '-gcp', '-dropcov')


@pytest.mark.parametrize('folder', ['detection', 'segmentation'])
def test_a_pair_differs_in_the_encoder_alone(folder):
    """Same recipe for every encoder: last stage and file, nothing else."""
    allowed = {
        'model.backbone.last_stage': '',
        'model.backbone.init_cfg.checkpoint': '',
    }
    compared = 0
    for path in sorted((CONFIGS / folder).glob('*.py')):
        for name in ENCODERS[1:]:
            partner = path.with_name(path.name.replace(f'{name}_', '-gap_', 1))
            if f'{name}_' not in path.name or not partner.exists():
                continue
            found = differences(Config.fromfile(path), Config.fromfile(partner))
            assert outside(found, allowed) == set(), path.name
            assert found, path.name
            compared += 1
    assert compared >= 10
