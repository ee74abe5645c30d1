"""Encoders of timm and Hugging Face, from files that these libraries write."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import save_file, save_model

from mmgcp.models import HuggingFaceEncoder, SimpleFeaturePyramid, TimmEncoder
from mmgcp.utils.errors import ConfigValueError
from mmgcp.weights.errors import CheckpointError, KeyMismatchError

CONFIGS = Path(__file__).parents[2] / 'configs'
TIMM = {
    'resnet': dict(model='test_resnet'),
    'convnext': dict(model='test_convnext'),
    'efficientnet': dict(model='test_efficientnet'),
    'vit': dict(model='test_vit', pyramid_channels=16),
}
HF = {
    'convnext': dict(hidden_sizes=[8, 8, 16, 16], depths=[1] * 4),
    'resnet': dict(
        embedding_size=8,
        hidden_sizes=[8, 16, 16, 24],
        depths=[1] * 4,
        layer_type='basic',
    ),
    'swin': dict(
        embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, window_size=2, image_size=64
    ),
    'dinov2': dict(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
    ),
}
HEADS = dict(
    convnext='ConvNextForImageClassification',
    resnet='ResNetModel',
    swin='SwinForImageClassification',
    dinov2='Dinov2ForImageClassification',
)
CASES = [*(f'timm-{name}' for name in TIMM), *(f'hf-{name}' for name in HF)]


def written(case, folder):
    """A file that the library wrote, the network in it, and settings that fit it."""
    kind, _, name = case.partition('-')
    torch.manual_seed(3)
    if kind == 'timm':
        timm = pytest.importorskip('timm')
        net = timm.create_model(TIMM[name]['model'], num_classes=7)
        save_model(net, str(folder / 'model.safetensors'))
        settings = dict(type='mmgcp.TimmEncoder', **TIMM[name])
    else:
        transformers = pytest.importorskip('transformers')
        config = transformers.AutoConfig.for_model(name, **HF[name], num_labels=7)
        net = getattr(transformers, HEADS[name])(config)
        net.save_pretrained(folder)
        settings = dict(
            type='mmgcp.HuggingFaceEncoder', model=str(folder), pyramid_channels=16
        )
    return folder / 'model.safetensors', net, settings


@pytest.fixture(params=CASES)
def library(request, tmp_path):
    return written(request.param, tmp_path)


def strict(path, **kwargs):
    return dict(type='mmgcp.PretrainedEncoder', checkpoint=str(path), **kwargs)


def build(framework, settings, in_scope):
    with in_scope(framework):
        return import_module(f'{framework}.registry').MODELS.build(settings)


def test_loads_strictly_what_the_library_wrote(library, in_scope):
    path, net, settings = library
    pytest.importorskip('mmpretrain')
    encoder = build('mmpretrain', settings | dict(init_cfg=strict(path)), in_scope)
    encoder.init_weights()
    theirs = net.state_dict()
    prefix = f'{getattr(net, "base_model_prefix", "")}.'
    bare = {name.removeprefix(prefix): tensor for name, tensor in theirs.items()}
    same = 0
    for name, tensor in encoder.net.state_dict().items():
        found = bare.get(name.removeprefix(prefix))
        if found is None:  # norms of inner levels that this library adds
            assert 'hidden_states_norms' in name
        else:
            assert torch.equal(tensor, found), name
            same += 1
    assert same > 0.8 * len(encoder.net.state_dict())
    # An encoder file of this package goes the same way.
    own = {f'backbone.{n}': t for n, t in encoder.state_dict().items()}
    torch.save({'state_dict': own}, path.parent / 'ours.pth')
    init_cfg = strict(path.parent / 'ours.pth')
    again = build('mmpretrain', settings | dict(init_cfg=init_cfg), in_scope)
    again.init_weights()
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, encoder.state_dict()[name]), name


@pytest.mark.parametrize('case', ['timm-vit', 'timm-resnet', 'hf-dinov2', 'hf-resnet'])
def test_what_does_not_fit_is_named(case, tmp_path, in_scope):
    path, net, settings = written(case, tmp_path)
    pytest.importorskip('mmpretrain')
    tensors = {name: t.contiguous() for name, t in net.state_dict().items()}
    inner = [n for n, t in tensors.items() if t.dim() > 1 and 'classif' not in n]
    middle = inner[len(inner) // 2]
    last = middle.rpartition('.')[0].split('.')[-2:]
    for spoiled in (
        {n: t for n, t in tensors.items() if n != middle},
        {n.replace(middle, f'{middle}x'): t for n, t in tensors.items()},
        {**tensors, middle: tensors[middle][:1].clone()},
    ):
        save_file(spoiled, tmp_path / 'w.safetensors', dict(format='pt'))
        init_cfg = strict(tmp_path / 'w.safetensors')
        encoder = build('mmpretrain', settings | dict(init_cfg=init_cfg), in_scope)
        with pytest.raises(KeyMismatchError, match=r'\.'.join(last)) as error:
            encoder.init_weights()
        assert '\n' not in str(error.value)


def test_timm_resizes_positions_and_patches(tmp_path, in_scope):
    path, _, settings = written('timm-vit', tmp_path)
    settings |= dict(img_size=96, patch_size=8, init_cfg=strict(path))
    encoder = TimmEncoder(**{k: v for k, v in settings.items() if k != 'type'})
    encoder.init_weights()
    assert encoder.net.patch_embed.proj.weight.shape[-1] == 8
    assert encoder.out_strides == (2, 4, 8, 16)


@pytest.mark.parametrize('name', HF)
def test_what_learns_gets_a_gradient(name):
    pytest.importorskip('transformers')
    settings = dict(model_type=name, **HF[name])
    encoder = HuggingFaceEncoder(settings, pyramid_channels=8).train()
    sum(level.mean() for level in encoder(torch.rand(2, 3, 64, 64))).backward()
    assert all((p.grad is not None) == p.requires_grad for p in encoder.parameters())


def test_frozen_blocks_drop_nothing():
    pytest.importorskip('timm')
    encoder = TimmEncoder('test_vit', drop_path_rate=0.9, frozen_stages=6).train()
    x = torch.rand(1, 3, 160, 160)
    assert torch.equal(encoder.maps(x)[0], encoder.maps(x)[0])


def test_timm_takes_what_mmpretrain_trained(tmp_path, in_scope):
    """The way of a transfer: a classifier on TIMMBackbone, then a pyramid."""
    pytest.importorskip('timm')
    pytest.importorskip('mmpretrain')
    trained = dict(type='TIMMBackbone', model_name='test_convnext')
    trained = build('mmpretrain', trained, in_scope).state_dict()
    tensors = {f'backbone.{name}': tensor for name, tensor in trained.items()}
    torch.save({'state_dict': tensors}, tmp_path / 'run.pth')
    encoder = TimmEncoder('test_convnext', init_cfg=strict(tmp_path / 'run.pth'))
    encoder.init_weights()
    for name, tensor in encoder.net.state_dict().items():
        assert torch.equal(tensor, trained[f'timm_model.{name}']), name


def trained_and_predicted(framework, model):
    """One training step and one prediction on random pixels."""
    if framework == 'mmdet':
        from mmdet.testing import demo_mm_inputs

        data = demo_mm_inputs(2, [[3, 128, 96]] * 2, num_classes=80)
    elif framework == 'mmseg':
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample

        shape = (96, 64)
        sample = SegDataSample(metainfo=dict(ori_shape=shape, img_shape=shape))
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 150, (1, *shape)))
        images = torch.randint(0, 255, (2, 3, *shape), dtype=torch.uint8)
        data = dict(inputs=list(images), data_samples=[sample, sample.clone()])
    else:
        from mmpretrain.structures import DataSample

        images = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8)
        samples = [DataSample().set_gt_label(i) for i in range(2)]
        data = dict(inputs=images, data_samples=samples)
    losses = model.train()(**model.data_preprocessor(data, True), mode='loss')
    model.parse_losses(losses)[0].backward()
    torch.optim.SGD(model.parameters(), 1e-3).step()
    return model.eval().test_step(data)


@pytest.mark.parametrize('framework', ['mmpretrain', 'mmdet', 'mmseg'])
def test_a_step_and_a_prediction(framework, library, in_scope):
    path, _, settings = library
    pytest.importorskip(f'{framework}.models')
    settings = settings | dict(init_cfg=strict(path), frozen_stages=1)
    if framework == 'mmdet':
        config = Config.fromfile(
            CONFIGS / 'detection/faster-rcnn_r50-gap_fpn_1x_coco.py'
        )
        model = config.model
        model.roi_head.bbox_head.fc_out_channels = 32
        model.train_cfg.rcnn.sampler.num = 32
        model.train_cfg.rpn_proposal.max_per_img = model.test_cfg.rpn.max_per_img = 50
    elif framework == 'mmseg':
        (name,) = CONFIGS.glob('segmentation/upernet_r50-gap_4xb4*')
        model = Config.fromfile(name).model
        model.auxiliary_head = None
        model.data_preprocessor.size = (96, 64)
        model.decode_head.update(channels=16, norm_cfg=dict(type='BN'))
    else:
        settings.update(pyramid_channels=None, out_indices=(-1,))
        neck = dict(type='mmgcp.GlobalCovariancePooling', reduced_channels=4)
    channels = build(framework, settings, in_scope).out_channels
    if framework == 'mmdet':
        model.neck.in_channels = list(channels)
    elif framework == 'mmseg':
        model.decode_head.in_channels = list(channels)
    else:
        neck['in_channels'] = channels[-1]
        head = dict(type='LinearClsHead', in_channels=10, num_classes=3)
        model = dict(type='ImageClassifier', neck=neck, head=head)
    model = build(framework, {**model, 'backbone': settings}, in_scope)
    with in_scope(framework):
        model.init_weights()
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        results = trained_and_predicted(framework, model)
    assert len(results) == 2
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen
    assert not frozen & changed
    # no weight is left without a use
    for name in before.keys() - frozen:
        if name.startswith('backbone.'):
            assert torch.isfinite(model.get_parameter(name).grad).all(), name
    assert any(n.startswith('backbone.net.') for n in changed)


@pytest.mark.parametrize(
    ('cls', 'settings', 'message'),
    [
        (TimmEncoder, dict(model='resnet5'), 'nearest: .*resnet50'),
        (TimmEncoder, dict(model='test_vit', out_indices=(6,)), 'not in 0 .. 5'),
        (TimmEncoder, dict(model='test_resnet', frozen_stages=5), '-1 .. 4'),
        (HuggingFaceEncoder, dict(model='a/b'), 'huggingface.co/a/b'),
        (HuggingFaceEncoder, dict(model=dict(model_type='vit_mae')), 'nearest: .*vit'),
    ],
)
def test_wrong_settings_are_one_line(cls, settings, message):
    pytest.importorskip('timm' if cls is TimmEncoder else 'transformers')
    with pytest.raises(ConfigValueError, match=message) as error:
        cls(**settings)
    assert '\n' not in str(error.value)


def test_a_folder_without_an_encoder(tmp_path):
    pytest.importorskip('transformers')
    (tmp_path / 'tokenizer.json').write_text('{}')
    with pytest.raises(ConfigValueError, match=r'no folder with the config\.json'):
        HuggingFaceEncoder(str(tmp_path))


def test_the_hub_without_a_network():
    pytest.importorskip('huggingface_hub')
    with pytest.raises(CheckpointError, match=r'Download https.*/x/y/resolve'):
        TimmEncoder('test_vit', init_cfg=strict('hf-hub:x/y')).init_weights()


def test_simple_feature_pyramid_behind_other_maps():
    pyramid = SimpleFeaturePyramid(8, 4, scales=(4, 2, 1, 0.5))
    levels = pyramid([torch.rand(1, 8, 4, 6) for _ in range(4)])
    assert [x.shape[1:] for x in levels] == [
        (4, 16, 24),
        (4, 8, 12),
        (4, 4, 6),
        (4, 2, 3),
    ]
    x = levels[0]  # normalized over the channels
    assert x.mean(1).abs().max() < 1e-5
    with pytest.raises(ConfigValueError, match='channels'):
        pyramid([torch.rand(1, 9, 4, 6)])
    with pytest.raises(ConfigValueError, match='scales'):
        SimpleFeaturePyramid(8, scales=(3,))
