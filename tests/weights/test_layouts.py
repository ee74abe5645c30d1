"""A converted network computes what the published one does."""

from types import SimpleNamespace

import pytest
import torch
import torchvision
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmgcp.weights.architectures import model_shapes, recognize
from mmgcp.weights.convert import convert_checkpoint
from mmgcp.weights.errors import CheckpointError, KeyMismatchError
from mmgcp.weights.layouts import LAYOUTS
from mmgcp.weights.trained_model import fill_encoder

from .networks import CovarianceResNet, FastMpnCov, GapResNet, MobileNet, randomize

pytest.importorskip('mmpretrain.models')


def _plain(network):
    return network.state_dict()


def _published(network):
    """As the training scripts of GCP_Optimization and DropCov save it."""
    parallel = torch.nn.DataParallel(network)
    return dict(
        epoch=99,
        arch='x',
        state_dict=parallel.state_dict(),
        best_acc1=torch.tensor(70.0),
        optimizer=torch.optim.SGD(network.parameters(), 0.1).state_dict(),
    )


def _old(network):
    """As a version of PyTorch that had no counters in its normalizations."""
    tensors = network.state_dict()
    return {k: v for k, v in tensors.items() if not k.endswith('num_batches_tracked')}


def _resnet(depth, last_stage='native', **kwargs):
    cfg = dict(type='mmgcp.GCPResNet', depth=depth, last_stage=last_stage)
    return dict(cfg, out_indices=(3,), **kwargs)


def _cov(channels, dim, **kwargs):
    if 'dropout' not in kwargs:
        kwargs['normalization'] = dict(type='NewtonSchulz', iterations=5)
    cfg = dict(type='mmgcp.GlobalCovariancePooling', in_channels=channels)
    return dict(cfg, reduced_channels=dim, **kwargs)


def _isqrt(depth, dim, **kwargs):
    return lambda: CovarianceResNet(depth, dim, 'isqrt', **kwargs)


def _mobile(dim, **kwargs):
    return lambda: MobileNet('mobilenet_v2', dim, **kwargs)


def _shuffle(dim):
    return lambda: MobileNet('shufflenet_v2_x1_0', dim)


GAP = dict(type='mmpretrain.GlobalAveragePooling')
RELU6 = dict(act_cfg=dict(type='ReLU6'))
DROPCOV = _cov(512, 128, dropout=dict(type='DropCov'))
MOBILE = dict(type='mmpretrain.MobileNetV2')
SHUFFLE = dict(type='mmpretrain.ShuffleNetV2')
DEEP = dict(deep_stem=True, avg_down=True)

# layout, independent network, how it is saved, our backbone, our neck
CASES = [
    ('torchvision', lambda: GapResNet(18), _plain, _resnet(18, 'stride'), GAP),
    ('mpncov', _isqrt(50, 128), _published, _resnet(50), _cov(2048, 128)),
    ('mpncov', _isqrt(18, 96), _old, _resnet(18), _cov(512, 96)),
    (
        *('mpncov', _isqrt(18, 64, landscape=True), _published),
        *(_resnet(18), _cov(512, 64)),
    ),
    (
        *('dropcov', lambda: CovarianceResNet(34, 128, 'dropcov'), _published),
        *(_resnet(34), DROPCOV),
    ),
    (
        *('fast-mpn-cov', lambda: FastMpnCov(18, 64, False, True), _plain),
        *(_resnet(18), _cov(512, 64)),
    ),
    (
        *('fast-mpn-cov', lambda: FastMpnCov(18, 64, True, False), _plain),
        *(_resnet(18), _cov(512, 64)),
    ),
    ('mobilenet_v2', _mobile(None), _published, MOBILE, GAP),
    ('mobilenet_v2', _mobile(128), _published, MOBILE, _cov(1280, 128, **RELU6)),
    (
        *('mobilenet_v2-landscape', _mobile(64, landscape=True), _plain),
        *(MOBILE, _cov(1280, 64, **RELU6)),
    ),
    ('shufflenet_v2', _shuffle(None), _plain, SHUFFLE, GAP),
    ('shufflenet_v2', _shuffle(64), _published, SHUFFLE, _cov(1024, 64, **RELU6)),
]


def _classifier(backbone, neck, width):
    head = dict(type='mmpretrain.LinearClsHead', in_channels=width, num_classes=10)
    cfg = dict(type='mmpretrain.ImageClassifier', backbone=backbone, neck=neck)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(dict(cfg, head=head))


@pytest.mark.usefixtures('device')
@pytest.mark.parametrize(('layout', 'build', 'save', 'backbone', 'neck'), CASES)
def test_features_and_logits_are_those_of_the_source(
    tmp_path, layout, build, save, backbone, neck
):
    source = randomize(build())
    torch.save(save(source), tmp_path / 'src.pth')
    encoder = convert_checkpoint(tmp_path / 'src.pth', tmp_path / 'encoder.pth')
    whole = convert_checkpoint(tmp_path / 'src.pth', tmp_path / 'c.pth', 'classifier')
    assert encoder.meta['layout'] == whole.meta['layout'] == layout
    dim = neck.get('reduced_channels', 0)
    head = 'gap' if not dim else 'dropcov' if 'dropout' in neck else 'isqrt'
    assert encoder.meta['pooling_head'] == head
    assert encoder.meta['covariance_channels'] == str(dim)
    state = torch.load(whole.path, weights_only=True)['state_dict']
    width = state['head.fc.weight'].shape[1]
    model = _classifier(backbone, neck, width)
    model.load_state_dict(state, strict=True)
    init_cfg = dict(type='mmgcp.PretrainedEncoder', checkpoint=str(encoder.path))
    tuned = _classifier(backbone | dict(init_cfg=init_cfg), neck, width)
    tuned.init_weights()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    model, tuned, source = (m.double().eval() for m in (model, tuned, source))
    with torch.no_grad():
        expected, logits = source(images)
        (last,), (same,) = model.backbone(images), tuned.backbone(images)
        ours = model.head.fc(model.neck((last,))[-1])
    assert min(expected.std(), logits.std()) > 1e-3
    for found, wanted in ((last, expected), (same, expected), (ours, logits)):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('depth', [18, 34, 50, 101, 152])
def test_every_depth_of_resnet_is_recognized(depth):
    with torch.device('meta'):
        net = getattr(torchvision.models, f'resnet{depth}')()
    shapes = {
        k: tuple(v.shape) for k, v in net.state_dict().items() if not k.startswith('fc')
    }
    name, config = recognize(shapes)
    assert name == f'resnet{depth}'
    expected = {f'backbone.{k}': v for k, v in shapes.items()}
    assert model_shapes(config, {}, 'encoder') == expected


@pytest.mark.parametrize('name', ['x0_5', 'x1_0', 'x1_5', 'x2_0'])
def test_every_width_of_shufflenet_is_recognized(tmp_path, name):
    net = getattr(torchvision.models, f'shufflenet_v2_{name}')(num_classes=10)
    torch.save(net.state_dict(), tmp_path / 's.pth')
    result = convert_checkpoint(tmp_path / 's.pth', tmp_path / 'd.pth')
    assert result.meta['architecture'] == f'shufflenet_v2_{name.replace("_", ".")}'
    assert len(result.report.renamed) == len(net.state_dict()) - 2


@pytest.fixture(scope='module')
def gcp18():
    return randomize(CovarianceResNet(18, 64, 'isqrt')).state_dict()


def _transposed(name):
    return lambda t: t | {name: t[name].transpose(0, 1).contiguous()}


def _renamed(old, new):
    return lambda t: {new if k == old else k: v for k, v in t.items()}


def _missing(name):
    return lambda t: {k: v for k, v in t.items() if k != name}


ENCODER = [
    (_missing('layer3.1.bn2.running_mean'), '1 missing: .*layer3.1.bn2.running_m'),
    (_missing('bn1.num_batches_tracked'), '1 missing: .*bn1.num_batches_tracked'),
    (
        _renamed('layer2.0.conv1.weight', 'layer2.0.conv9.weight'),
        'missing: .*layer2.0.conv1.weight; 1 unexpected: backbone.layer2.0.conv9.weight',
    ),
    (_transposed('layer2.0.conv1.weight'), r'layer2.0.conv1.weight is \(64, 128'),
]
POOLING_HEAD = [
    (_transposed('fc.weight'), r'head.fc.weight is \(2080, 10\)'),
    (_missing('fc.bias'), 'missing: head.fc.bias'),
    (_missing('fc.weight'), 'head.fc.weight is missing'),
    (_transposed('layer_reduce.weight'), 'neck.reduction.conv.weight is'),
    (_missing('layer_reduce_bn.bias'), 'missing: neck.reduction.bn.bias'),
]


@pytest.mark.parametrize(
    ('to', 'spoil', 'named'),
    [
        *(('encoder', *case) for case in ENCODER),
        *(('classifier', *case) for case in [ENCODER[0], *POOLING_HEAD]),
    ],
)
def test_spoiled_tensor_is_named(tmp_path, gcp18, to, spoil, named):
    torch.save(spoil(dict(gcp18)), tmp_path / 's.pth')
    with pytest.raises(CheckpointError, match=named):
        convert_checkpoint(tmp_path / 's.pth', tmp_path / 'd.pth', to=to)
    assert not (tmp_path / 'd.pth').exists()


def test_unknown_networks_are_refused_with_the_list_of_layouts(tmp_path):
    vgg = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 3), torch.nn.Conv2d(64, 4, 3))
    torch.save(
        {f'features.{k}': v for k, v in vgg.state_dict().items()}, tmp_path / 's.pth'
    )
    with pytest.raises(CheckpointError, match=r's\.pth: no known layout') as error:
        convert_checkpoint(tmp_path / 's.pth', tmp_path / 'd.pth')
    assert all(layout.name in str(error.value) for layout in LAYOUTS)


def test_resnet_of_another_kind_is_refused(tmp_path):
    net = torchvision.models.resnet._resnet(
        torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], None, False
    )
    torch.save(net.state_dict(), tmp_path / 's.pth')
    with pytest.raises(KeyMismatchError, match=r'\(1, 1, 1, 1\) basic blocks'):
        convert_checkpoint(tmp_path / 's.pth', tmp_path / 'd.pth')


@pytest.mark.parametrize('framework', ['mmpretrain', 'mmdet', 'mmseg'])
def test_deep_stem_and_shortcuts_load_in_every_framework(tmp_path, framework):
    """mmpretrain names them otherwise than mmdet and mmseg."""
    pytest.importorskip(f'{framework}.models')
    source = randomize(GapResNet(18, deep=True))
    torch.save(source.state_dict(), tmp_path / 's.pth')
    whole = convert_checkpoint(tmp_path / 's.pth', tmp_path / 'c.pth', to='classifier')
    files = [convert_checkpoint(tmp_path / 's.pth', tmp_path / 'e.pth').path]
    files.append(convert_checkpoint(whole.path, tmp_path / 'again.pth').path)
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        expected = source.double()(images)[0]
        for file in [*files, whole.path]:
            init_cfg = dict(type='mmgcp.PretrainedEncoder', checkpoint=str(file))
            cfg = _resnet(18, 'stride', framework=framework, init_cfg=init_cfg, **DEEP)
            net, other = MODELS.build(cfg), MODELS.build({**cfg, 'init_cfg': None})
            net.init_weights()
            fill_encoder(SimpleNamespace(backbone=other), Config(), file)
            for loaded in (net, other):
                (found,) = loaded.double().eval()(images)
                torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
