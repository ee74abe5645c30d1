"""mmgcp.GCPResNet against the ResNet of each framework."""

import copy
import io
import pickle
import subprocess
import sys
from importlib import import_module

import pytest
import torch

from mmgcp.models import GCPResNet
from mmgcp.registry import MODELS

NARROW = dict(depth=18, base_channels=4, stem_channels=4, out_indices=(0, 1, 2, 3))
IMAGE = torch.randn(2, 3, 65, 96, generator=torch.Generator().manual_seed(0))


def own(framework, **kwargs):
    registry = import_module(f'{framework}.registry').MODELS
    return registry.build(dict(type='mmgcp.GCPResNet', **{**NARROW, **kwargs}))


def stock(framework, **kwargs):
    registry = import_module(f'{framework}.registry').MODELS
    return registry.build(dict(type='ResNet', **{**NARROW, **kwargs}))


def run(net, mode=False):
    net.train(mode)
    return net(IMAGE)


@pytest.mark.parametrize(
    'settings',
    [
        dict(),
        dict(depth=50, deep_stem=True, avg_down=True),
        dict(style='caffe', depth=50, norm_cfg=dict(type='GN', num_groups=2)),
        dict(out_indices=(1, 3), frozen_stages=2, norm_eval=True),
    ],
)
def test_stride_is_the_frameworks_resnet_to_the_last_bit(framework, settings):
    torch.manual_seed(1)
    theirs = stock(framework, **settings)
    ours = own(framework, last_stage='stride', **settings)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    for mode in (True, False):
        expected, found = run(theirs, mode), run(ours, mode)
        assert len(expected) == len(found)
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    frozen = [n for n, p in theirs.named_parameters() if not p.requires_grad]
    assert [n for n, p in ours.named_parameters() if not p.requires_grad] == frozen


@pytest.mark.parametrize('depth', [18, 50])
def test_the_last_stage_alone_changes(framework, depth):
    torch.manual_seed(1)
    nets = {s: own(framework, last_stage=s, depth=depth).eval() for s in STRIDES}
    for net in nets.values():
        net.load_state_dict(nets['stride'].state_dict(), strict=True)
    maps = {name: net(IMAGE) for name, net in nets.items()}
    for name, strides in STRIDES.items():
        assert nets[name].out_strides == strides
        for x, stride, channels in zip(
            maps[name], strides, nets[name].out_channels, strict=True
        ):
            # Every stride-two layer has padding 1: sizes are rounded up.
            assert x.shape == (2, channels, -(-65 // stride), -(-96 // stride))
        for a, b in zip(maps[name][:3], maps['stride'][:3], strict=True):
            assert torch.equal(a, b)
    pooled = torch.nn.functional.max_pool2d(maps['native'][2], 3, 2, 1)
    assert torch.equal(nets['native'].layer4(pooled), maps['maxpool'][3])
    assert not torch.allclose(maps['maxpool'][3], maps['stride'][3])


STRIDES = dict(stride=(4, 8, 16, 32), maxpool=(4, 8, 16, 32), native=(4, 8, 16, 16))


@pytest.mark.parametrize('last_stage', list(STRIDES))
def test_checkpointing_changes_nothing(framework, last_stage):
    torch.manual_seed(1)
    plain = own(framework, last_stage=last_stage).train()
    saving = own(framework, last_stage=last_stage, with_cp=True).train()
    saving.load_state_dict(plain.state_dict())
    results = []
    for net in (plain, saving):
        image = IMAGE.clone().requires_grad_()
        sum(x.square().mean() for x in net(image)).backward()
        results.append([image.grad] + [p.grad for p in net.parameters()])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize('last_stage', list(STRIDES))
def test_frozen_stages_and_norm_eval(framework, last_stage):
    net = own(framework, last_stage=last_stage, frozen_stages=4, norm_eval=True)
    before = copy.deepcopy(net.state_dict())
    for mode in (True, False, True):
        net.train(mode)
        assert not any(p.requires_grad for p in net.parameters())
        net(IMAGE)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_dilated_form_is_native(framework):
    dilated = dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
    net = own(framework, last_stage='native', **dilated).eval()
    theirs = stock(framework, **dilated)
    net.load_state_dict(theirs.state_dict())
    assert net.out_strides == (4, 8, 8, 8)
    for a, b in zip(net(IMAGE), run(theirs), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_plugins_and_deformable_convolution(in_scope, scope):
    pytest.importorskip(f'{scope}.models')
    plugin = dict(
        cfg=dict(type='ContextBlock', ratio=0.25),
        stages=(False, False, False, True),
        position='after_conv3',
    )
    with in_scope(scope):
        settings = dict(depth=50, plugins=[plugin])
        net = own(scope, last_stage='maxpool', **settings).eval()
        assert list(net.state_dict()) == list(stock(scope, **settings).state_dict())
        assert net(IMAGE)[3].shape[-2:] == (3, 3)
        dcn = own(
            scope,
            last_stage='native',
            depth=50,
            dcn=dict(type='DCNv2', deform_groups=1, fallback_on_stride=False),
            stage_with_dcn=(False, False, False, True),
        ).eval()
        assert dcn(IMAGE)[3].shape[-2:] == (5, 6)


def test_copies_and_pickles(framework):
    torch.manual_seed(1)
    net = own(framework, last_stage='maxpool').eval()
    buffer = io.BytesIO()
    torch.save(net, buffer)
    buffer.seek(0)
    copies = [
        copy.deepcopy(net),
        pickle.loads(pickle.dumps(net)),
        torch.load(buffer, weights_only=False),
    ]
    expected = net(IMAGE)
    for other in copies:
        assert type(other) is type(net)
        for a, b in zip(expected, other(IMAGE), strict=True):
            assert torch.equal(a, b)


class Doubled(GCPResNet):
    """A user's own subclass."""

    def __init__(self, *args, factor=2, **kwargs):
        super().__init__(*args, **kwargs)
        self.factor = factor

    def forward(self, x):
        return tuple(self.factor * out for out in super().forward(x))


def test_subclass_in_a_scope_of_its_own(framework):
    registry = import_module(f'{framework}.registry').MODELS
    registry.register_module(module=Doubled, force=True)
    net = registry.build(dict(type='Doubled', last_stage='native', **NARROW)).eval()
    plain = own(framework, last_stage='native').eval()
    plain.load_state_dict(net.state_dict(), strict=True)
    assert isinstance(net, GCPResNet)
    assert isinstance(net, stock_class(framework))
    for a, b in zip(net(IMAGE), plain(IMAGE), strict=True):
        assert torch.equal(a, 2 * b)
    assert isinstance(pickle.loads(pickle.dumps(net)), Doubled)


def stock_class(framework):
    return import_module(f'{framework}.models.backbones').ResNet


def test_loaded_weights_are_not_zeroed_afterwards(framework, tmp_path):
    torch.manual_seed(1)
    source = own(framework)
    for parameter in source.parameters():
        torch.nn.init.normal_(parameter)
    file = tmp_path / 'encoder.pth'
    torch.save(dict(state_dict=source.state_dict()), file)
    init_cfg = dict(type='Pretrained', checkpoint=str(file))
    net = own(framework, init_cfg=init_cfg, zero_init_residual=True)
    net.init_weights()
    for name, value in net.state_dict().items():
        assert torch.equal(value, source.state_dict()[name]), name


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(last_stage='pool'), "last_stage='pool' is unknown.*'maxpool'"),
        (
            dict(last_stage='maxpool', strides=(1, 2, 2, 2)),
            "contradict last_stage='maxpool'.*last_stage='stride'",
        ),
        (
            dict(last_stage='stride', strides=(1, 2, 1, 1)),
            "contradict last_stage='stride'.*'native' or 'maxpool'",
        ),
        (
            dict(last_stage='native', num_stages=3, strides=(1, 2, 2)),
            'num_stages=3 leaves out',
        ),
        (dict(framework='mmcls'), "framework='mmcls' is unknown"),
    ],
)
def test_wrong_arguments_tell_the_way_out(in_scope, arguments, message):
    with in_scope('mmpretrain'), pytest.raises(ValueError, match=message):
        GCPResNet(18, **arguments)


@pytest.mark.parametrize('scope', ['mmgcp', 'mmengine', 'nobody'])
def test_scopes_that_name_no_framework(in_scope, scope):
    with in_scope(scope), pytest.raises(ValueError, match=f'default_scope={scope!r}'):
        GCPResNet(18)
    with in_scope(scope):
        assert GCPResNet(18, framework='mmpretrain').framework == 'mmpretrain'


def test_three_stages(framework):
    stages = dict(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1))
    net = own(framework, out_indices=(2,), **stages)
    assert net.out_strides == (16,)


LONE = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {blocked!r}:
            raise ModuleNotFoundError('No module named ' + repr(name))
sys.meta_path.insert(0, Block())
import torch
from mmengine.registry import DefaultScope, MODELS
with DefaultScope.overwrite_default_scope({scope!r}):
    net = MODELS.build(dict(
        type='mmgcp.GCPResNet', depth=18, last_stage='maxpool', base_channels=4,
        stem_channels=4, out_indices=(0, 1, 2, 3)))
    assert net(torch.zeros(1, 3, 64, 64))[3].shape == (1, 32, 2, 2)
assert not set(sys.modules) & set({blocked!r})
with DefaultScope.overwrite_default_scope({other!r}):
    try:
        MODELS.build(dict(type='mmgcp.GCPResNet', depth=18))
    except ImportError as error:
        assert 'mmgcp.GCPResNet needs {other}' in str(error), error
    else:
        raise SystemExit('built without its framework')
"""


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg', 'mmpretrain'])
def test_one_framework_alone_is_enough(scope):
    pytest.importorskip(f'{scope}.models')
    blocked = [name for name in ('mmdet', 'mmseg', 'mmpretrain') if name != scope]
    code = LONE.format(scope=scope, blocked=blocked, other=blocked[0])
    run = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_registered_once_and_in_our_scope():
    assert MODELS.get('GCPResNet') is GCPResNet
