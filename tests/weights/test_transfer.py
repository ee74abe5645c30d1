"""From a published file to a trained detector and segmenter, and back to a test."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint

from mmgcp.weights import convert_checkpoint, export_encoder

from .networks import CovarianceResNet, randomise

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    """A GCP ResNet-18 as its authors save it, and the encoder converted from it."""
    folder = tmp_path_factory.mktemp('published')
    network = torch.nn.DataParallel(randomise(CovarianceResNet(18, 64, 'isqrt')))
    torch.save({'state_dict': network.state_dict(), 'epoch': 1}, folder / 's.pth.tar')
    return folder, export_encoder(folder / 's.pth.tar', folder / 'encoder.pth')


def _model(name, encoder, last_stage):
    cfg = Config.fromfile(CONFIGS / name)
    widths = [64, 128, 256, 512]
    cfg.model.backbone.update(
        base_channels=64,
        stem_channels=64,
        last_stage=last_stage,
        init_cfg=dict(type='mmgcp.PretrainedEncoder', checkpoint=str(encoder)),
    )
    if 'decode_head' in cfg.model:
        cfg.model.decode_head.in_channels = widths
        cfg.model.auxiliary_head.in_channels = widths[2]
        norm = dict(type='BN')
        for part in ('backbone', 'decode_head', 'auxiliary_head'):
            cfg.model[part].norm_cfg = norm
    else:
        cfg.model.neck.in_channels = widths
    return MODELS.build(cfg.model)


def _train_and_reload(model, data, tmp_path, build):
    """One step, a checkpoint, the encoder out of it again; returns predictions."""
    model.init_weights()
    model.train()
    weight = model.backbone.get_parameter('layer4.0.conv1.weight')
    before = weight.detach().clone()
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), 0.01))
    losses = model.train_step(data, optimizer)
    assert all(torch.isfinite(value) for value in losses.values())
    assert not torch.equal(weight, before)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'trained.pth')
    again = export_encoder(tmp_path / 'trained.pth', tmp_path / 'again.pth')
    other = build(again)
    other.init_weights()
    for name, tensor in other.backbone.state_dict().items():
        assert torch.equal(tensor, model.backbone.state_dict()[name]), name
    with torch.no_grad():
        return model.eval().test_step(data)


@pytest.mark.parametrize('last_stage', ['stride', 'maxpool'])
def test_detector(tmp_path, published, last_stage):
    testing = pytest.importorskip('mmdet.testing')
    with DefaultScope.overwrite_default_scope('mmdet'):
        name = 'detection/faster-rcnn_r18-w16_fpn_scenes.py'
        data = testing.demo_mm_inputs(2, [[3, 64, 64]] * 2, num_classes=10)
        found = _train_and_reload(
            _model(name, published[1], last_stage),
            data,
            tmp_path,
            lambda encoder: _model(name, encoder, last_stage),
        )
    assert len(found) == 2
    assert found[0].pred_instances.bboxes.shape[1] == 4


def test_segmenter(tmp_path, published):
    pytest.importorskip('mmseg.models')
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    name = 'segmentation/upernet_r18-w16_scenes.py'
    samples = []
    for seed in range(2):
        truth = torch.randint(10, (1, 96, 96), generator=torch.manual_seed(seed))
        sample = SegDataSample(gt_sem_seg=PixelData(data=truth))
        sample.set_metainfo(
            dict(img_shape=(96, 96), ori_shape=(96, 96), pad_shape=(96, 96))
        )
        samples.append(sample)
    images = [torch.randint(256, (3, 96, 96), dtype=torch.uint8) for _ in range(2)]
    data = dict(inputs=images, data_samples=samples)
    with DefaultScope.overwrite_default_scope('mmseg'):
        found = _train_and_reload(
            _model(name, published[1], 'native'),
            data,
            tmp_path,
            lambda encoder: _model(name, encoder, 'native'),
        )
    assert found[0].pred_sem_seg.data.shape == (1, 96, 96)


@pytest.mark.parametrize('framework', ['mmpretrain', 'mmdet', 'mmseg'])
def test_resnets_of_the_frameworks(published, framework):
    """mmpretrain's zeroes its last norms after other initialisers."""
    pytest.importorskip(f'{framework}.models')
    init_cfg = dict(type='mmgcp.PretrainedEncoder', checkpoint=str(published[1]))
    net = MODELS.build(dict(type=f'{framework}.ResNet', depth=18, init_cfg=init_cfg))
    net.init_weights()
    tensors = torch.load(published[1], weights_only=True)['state_dict']
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, tensors[name]), name


def test_position_embedding_of_another_size_is_resized_as_the_framework_does(tmp_path):
    pytest.importorskip('mmpretrain.models')
    arch = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32)

    def build(size, init_cfg=None):
        kind = 'mmpretrain.VisionTransformer'
        return MODELS.build(
            dict(type=kind, arch=arch, img_size=size, patch_size=16, init_cfg=init_cfg)
        )

    small, large = build(32), build(64)
    torch.nn.init.normal_(small.pos_embed)
    torch.save(small.state_dict(), tmp_path / 'e.pth')
    large.load_state_dict(small.state_dict())
    init_cfg = dict(type='mmgcp.PretrainedEncoder', checkpoint=str(tmp_path / 'e.pth'))
    loaded = build(64, init_cfg)
    loaded.init_weights()
    assert loaded.pos_embed.shape == (1, 17, 16)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, large.state_dict()[name]), name


def test_classifier_is_tested_from_its_file_alone(tmp_path, published):
    pytest.importorskip('mmpretrain.models')
    whole = convert_checkpoint(
        published[0] / 's.pth.tar', tmp_path / 'c.pth', to='classifier'
    )
    cfg = Config.fromfile(CONFIGS / 'pretrain/resnet18-isqrt_8xb32-lrnorm_in1k.py')
    cfg.merge_from_dict(
        {
            'model.neck.reduced_channels': 64,
            'model.head.in_channels': 2080,
            'model.head.num_classes': 10,
        }
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model).eval()
        load_checkpoint(model, str(whole.path), strict=True)
        images = torch.randn(2, 3, 64, 64)
        with torch.no_grad():
            ours = model.head.fc(model.extract_feat(images)[-1])
            source = randomise(CovarianceResNet(18, 64, 'isqrt'))
            theirs = source(images)[1]
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
