"""What every encoder does in every framework that can hold it."""

import copy
from importlib import import_module

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from mmgcp.models import (
    GCPMobileNetV2,
    GCPResNet,
    GCPShuffleNetV2,
    SoViT,
    TokenFusionHead,
)
from mmgcp.registry import MODELS

from .encoders import ENCODERS, FREEZABLE, expected_size, family


@pytest.fixture(params=list(ENCODERS))
def name(request):
    return request.param


@pytest.fixture
def build(framework, name):
    """Builds the encoder as a config of the framework does."""
    registry = import_module(f'{framework}.registry').MODELS

    def build(**kwargs):
        torch.manual_seed(1)
        return registry.build({**copy.deepcopy(ENCODERS[name]), **kwargs})

    return build


def image(*size, batch=2, seed=0):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(seed))


def equal(a, b):
    return len(a) == len(b) and all(map(torch.equal, a, b))


@pytest.mark.parametrize('size', [(64, 64), (65, 97), (33, 50)])
def test_channels_and_strides_for_odd_sizes(build, name, size):
    net = build().eval()
    with torch.no_grad():
        maps = net(image(*size, batch=1))
    assert isinstance(maps, tuple)
    assert len(maps) == len(net.out_channels) == len(net.out_strides)
    for x, channels, stride in zip(
        maps, net.out_channels, net.out_strides, strict=True
    ):
        assert x.shape == (1, channels, *expected_size(name, size, stride))
        assert torch.isfinite(x).all()


def test_frozen_stages(build, name):
    most, never = FREEZABLE[family(name)]
    for stages in (0, most):
        net = build(frozen_stages=stages).train()
        frozen = [n for n, p in net.named_parameters() if not p.requires_grad]
        assert frozen
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


def test_checkpointing_changes_nothing(build):
    nets = [build(), build(with_cp=True)]
    results = []
    for net in nets:
        x = image(64, 64).requires_grad_()
        maps = net.train()(x)
        sum(m.square().mean() for m in maps).backward()
        results.append([*maps, x.grad, *(p.grad for p in net.parameters())])
    for a, b in zip(*results, strict=True):
        if a is not None:
            torch.testing.assert_close(a, b)


def test_modes_come_back(build):
    net = build(norm_eval=False).eval()
    x = image(64, 64)
    first = net(x)
    modes = [m.training for m in net.modules()]
    net.train()
    assert net.training
    net(x)
    net.eval()
    assert [m.training for m in net.modules()] == modes
    second, third = net(x), net(x)
    assert equal(second, third)
    assert not equal(first, second)  # training moved the running statistics


def test_state_dict_round_trip(build, tmp_path):
    net = build().eval()
    file = tmp_path / 'net.pth'
    torch.save(net.state_dict(), file)
    other = build()
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter)
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert equal(net(image(64, 64)), other.eval()(image(64, 64)))
    assert equal(net(image(64, 64)), copy.deepcopy(net)(image(64, 64)))


def test_strict_loading(build, tmp_path):
    source = build()
    tensors = {
        key: torch.rand_like(value) if value.is_floating_point() else value + 5
        for key, value in source.state_dict().items()
    }
    file = tmp_path / 'encoder.pth'
    torch.save(dict(state_dict=tensors, meta={}), file)
    init_cfg = dict(type='mmgcp.PretrainedEncoder', checkpoint=str(file))
    net = build(init_cfg=init_cfg)
    net.init_weights()
    for key, value in net.state_dict().items():
        assert torch.equal(value, tensors[key]), key
    missing = list(tensors)[len(tensors) // 2]
    del tensors[missing]
    torch.save(dict(state_dict=tensors, meta={}), file)
    with pytest.raises(Exception, match=missing.replace('.', r'\.')):
        build(init_cfg=init_cfg).init_weights()


def test_initialisation_is_finite_and_moves_gradients(build):
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


def test_names():
    for cls in (GCPMobileNetV2, GCPResNet, GCPShuffleNetV2, SoViT, TokenFusionHead):
        assert MODELS.get(f'mmgcp.{cls.__name__}') is cls
