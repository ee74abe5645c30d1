"""What every encoder does in every framework that can hold it."""

import copy
import math
from importlib import import_module

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from mmgcp.registry import MODELS
from mmgcp.utils.config import FRAMEWORKS
from mmgcp.utils.errors import ConfigValueError

ENCODERS = {
    **{
        f'resnet-{last_stage}': dict(
            type='mmgcp.GCPResNet',
            depth=18,
            last_stage=last_stage,
            base_channels=4,
            stem_channels=4,
            out_indices=(0, 1, 2, 3),
        )
        for last_stage in ('stride', 'maxpool', 'native')
    },
    'mobilenet': dict(
        type='mmgcp.GCPMobileNetV2', widen_factor=0.25, out_indices=(1, 2, 4, 6, 7)
    ),
    'shufflenet': dict(
        type='mmgcp.GCPShuffleNetV2', widen_factor=0.5, out_indices=(0, 1, 2, 3)
    ),
    'sovit': dict(
        type='mmgcp.SoViT',
        arch=dict(embed_dims=16, num_layers=4, num_heads=2, mlp_ratio=2),
        img_size=64,
        out_type='featmap',
    ),
    'timm': dict(type='mmgcp.TimmEncoder', model='test_resnet'),
    'hf': dict(
        type='mmgcp.HuggingFaceEncoder',
        model=dict(
            model_type='resnet',
            embedding_size=8,
            hidden_sizes=[8, 8, 16, 16],
            depths=[1, 1, 1, 1],
        ),
    ),
}
LIBRARIES = dict(timm='timm', hf='transformers')
#: Most of each that ``frozen_stages`` can freeze, and what it never does.
FREEZABLE = {
    'resnet': (4, ()),
    'mobilenet': (7, ('conv2.',)),
    'shufflenet': (3, ('layers.3.',)),
    'sovit': (4, ('norm.',)),
    'timm': (4, ()),
    'hf': (4, ()),
}
# The others are the same class in all three; test_gcp_resnet.py holds each form of the
# last stage against each framework's own.
CASES = [
    (framework, name)
    for name in ENCODERS
    for framework in (FRAMEWORKS if name == 'resnet-maxpool' else ('mmseg',))
]


@pytest.fixture(params=CASES, ids='-'.join)
def case(request):
    return request.param


@pytest.fixture
def name(case):
    return case[1]


@pytest.fixture
def build(case, in_scope):
    """Builds the encoder as a config of the framework does."""
    framework, name = case
    pytest.importorskip(f'{framework}.models')
    pytest.importorskip(LIBRARIES.get(name, 'torch'))
    registry = import_module(f'{framework}.registry').MODELS

    def build(**kwargs):
        torch.manual_seed(1)
        return registry.build({**copy.deepcopy(ENCODERS[name]), **kwargs})

    with in_scope(framework):
        yield build


def image(*size, batch=2):
    torch.manual_seed(0)
    return torch.randn(batch, 3, *size)


def equal(a, b):
    return len(a) == len(b) and all(map(torch.equal, a, b))


@pytest.mark.parametrize('size', [(64, 64), (33, 50)])
def test_channels_and_strides(build, name, size):
    net = build().eval()
    with torch.no_grad():
        maps = net(image(*size, batch=1))
    assert isinstance(maps, tuple)
    assert len(maps) == len(net.out_channels) == len(net.out_strides)
    if name == 'sovit':  # which pads to whole tokens first
        size = [math.ceil(s / 16) * 16 for s in size]
    for x, channels, stride in zip(
        maps, net.out_channels, net.out_strides, strict=True
    ):
        assert x.shape == (1, channels, *(math.ceil(s / stride) for s in size))
        assert torch.isfinite(x).all()


def test_frozen_stages(build, name):
    most, never = FREEZABLE[name.partition('-')[0]]
    for stages in (0, most):
        net = build(frozen_stages=stages)
        # data parallelism and the optimizer look at it before train()
        frozen = [n for n, p in net.named_parameters() if not p.requires_grad]
        net.train()
        assert frozen
        assert frozen == [n for n, p in net.named_parameters() if not p.requires_grad]
        if stages == most:
            learning = [n for n, p in net.named_parameters() if p.requires_grad]
            assert all(n.startswith(never) for n in learning)
        owners = {n.rpartition('.')[0] for n in frozen}
        before = copy.deepcopy(net.state_dict())
        net(image(64, 64))
        net.eval().train()(image(64, 64))
        for key, value in net.state_dict().items():
            if key.rpartition('.')[0] in owners:
                assert torch.equal(value, before[key]), key


@pytest.mark.parametrize('case', [('mmseg', 'mobilenet'), ('mmseg', 'shufflenet')])
def test_what_no_level_needs_learns_nothing(build):
    net = build(out_indices=(0, 1)).train()
    sum(level.mean() for level in net(image(64, 64))).backward()
    assert all((p.grad is not None) == p.requires_grad for p in net.parameters())


@pytest.mark.parametrize('norm_eval', [True, False])
def test_norm_eval(build, norm_eval):
    net = build(norm_eval=norm_eval).train()
    norms = [m for m in net.modules() if isinstance(m, _BatchNorm)]
    assert norms
    before = [m.running_var.clone() for m in norms]
    net(image(64, 64))
    pairs = zip((m.running_var for m in norms), before, strict=True)
    unchanged = [torch.equal(a, b) for a, b in pairs]
    assert all(unchanged) if norm_eval else not any(unchanged)


def test_checkpointing_changes_nothing(build, name):
    if name == 'hf':
        with pytest.raises(ConfigValueError, match='with_cp'):
            build(with_cp=True)
        return
    results = []
    for net in (build(), build(with_cp=True)):
        x = image(64, 64).requires_grad_()
        maps = net.train()(x)
        sum(m.square().mean() for m in maps).backward()
        results.append([*maps, x.grad, *(p.grad for p in net.parameters())])
    for a, b in zip(*results, strict=True):
        if a is not None:
            torch.testing.assert_close(a, b)


def test_state_dict_round_trip(build, tmp_path):
    net = build().eval()
    file = tmp_path / 'net.pth'
    torch.save(net.state_dict(), file)
    other = build()
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter)
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    expected = net(image(64, 64))
    assert equal(expected, other.eval()(image(64, 64)))
    assert equal(expected, copy.deepcopy(net)(image(64, 64)))


@pytest.mark.parametrize('kind', ['mmgcp.PretrainedEncoder', 'Pretrained'])
def test_loaded_weights_stay_as_they_are(build, tmp_path, kind):
    tensors = {
        key: torch.rand_like(value) if value.is_floating_point() else value + 5
        for key, value in build().state_dict().items()
    }
    file = tmp_path / 'encoder.pth'
    torch.save(dict(state_dict=tensors, meta={}), file)
    init_cfg = dict(type=kind, checkpoint=str(file))
    net = build(init_cfg=init_cfg)
    net.init_weights()
    for key, value in net.state_dict().items():
        assert torch.equal(value, tensors[key]), key
    if kind == 'mmgcp.PretrainedEncoder':
        missing = list(tensors)[len(tensors) // 2]
        del tensors[missing]
        torch.save(dict(state_dict=tensors, meta={}), file)
        with pytest.raises(Exception, match=missing.replace('.', r'\.')):
            build(init_cfg=init_cfg).init_weights()


def test_initialization_is_finite_and_moves_gradients(build):
    net = build()
    net.init_weights()
    sum(m.square().mean() for m in net.train()(image(64, 64))).backward()
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    assert len(gradients) > len(list(net.parameters())) // 2
    assert all(torch.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize('name', ['resnet-maxpool', 'sovit'])
def test_compiles_to_one_graph(name, in_scope):
    torch._dynamo.reset()
    with in_scope('mmpretrain'):
        net = MODELS.build(copy.deepcopy(ENCODERS[name])).eval()
    compiled = torch.compile(net, fullgraph=True, backend='aot_eager')
    with torch.no_grad():
        for a, b in zip(net(image(48, 64)), compiled(image(48, 64)), strict=True):
            torch.testing.assert_close(a, b)
