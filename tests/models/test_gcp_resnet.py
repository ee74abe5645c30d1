"""mmgcp.GCPResNet against the ResNet of each framework."""

import copy
import pickle
import subprocess
import sys
from importlib import import_module

import pytest
import torch

from mmgcp.models import GCPResNet
from mmgcp.utils.config import FRAMEWORKS
from mmgcp.utils.errors import UserError

NARROW = dict(depth=18, base_channels=4, stem_channels=4, out_indices=(0, 1, 2, 3))


def stock(framework, type='ResNet', **kwargs):
    registry = import_module(f'{framework}.registry').MODELS
    return registry.build({**NARROW, 'type': type, **kwargs})


def own(framework, **kwargs):
    return stock(framework, 'mmgcp.GCPResNet', **kwargs)


def image():
    torch.manual_seed(0)
    return torch.randn(2, 3, 65, 96)


def run(net, mode=False):
    net.train(mode)
    return net(image())


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
    maps = {name: net(image()) for name, net in nets.items()}
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


def test_without_the_pooling_of_the_stem_maps_are_twice_as_large(framework):
    net = own(framework, last_stage='native', stem_pool=False).eval()
    assert net.out_strides == (2, 4, 8, 8)
    assert [x.shape[2:] for x in net(image())] == [(33, 48), (17, 24), (9, 12), (9, 12)]
    published = own(framework, last_stage='native')
    assert list(net.state_dict()) == list(published.state_dict())


STRIDES = dict(stride=(4, 8, 16, 32), maxpool=(4, 8, 16, 32), native=(4, 8, 16, 16))


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_plugins_and_deformable_convolution(in_scope, scope):
    pytest.importorskip(f'{scope}.models')
    plugin = dict(
        cfg=dict(type='ContextBlock', ratio=0.25),
        stages=(False, False, False, True),
        position='after_conv3',
    )
    deformable = dict(type='DCNv2', deform_groups=1, fallback_on_stride=False)
    settings = dict(depth=50, plugins=[plugin], dcn=deformable)
    settings['stage_with_dcn'] = (False, False, False, True)
    with in_scope(scope):
        net = own(scope, last_stage='maxpool', **settings).eval()
        assert list(net.state_dict()) == list(stock(scope, **settings).state_dict())
        assert net(image())[3].shape[-2:] == (3, 3)


def test_copies_and_pickles(framework):
    net = own(framework, last_stage='maxpool').eval()
    expected = net(image())
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert type(other) is type(net)
        assert all(map(torch.equal, expected, other(image())))


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
    theirs = import_module(f'{framework}.models').ResNet
    assert isinstance(net, GCPResNet)
    assert isinstance(net, theirs)
    for a, b in zip(net(image()), plain(image()), strict=True):
        assert torch.equal(a, 2 * b)
    assert isinstance(pickle.loads(pickle.dumps(net)), Doubled)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(), "last_stage is missing.*'stride'.*'maxpool'.*'native'"),
        (dict(last_stage='pool'), "last_stage='pool' is unknown.*'maxpool'"),
        (
            dict(last_stage='stride', strides=(1, 2, 1, 1)),
            "contradict last_stage='stride'.*'native' or 'maxpool'",
        ),
        (
            dict(last_stage='native', num_stages=3, strides=(1, 2, 2)),
            'num_stages=3 leaves out',
        ),
        (dict(framework='mmcls'), "framework='mmcls'.*'mmpretrain', 'mmdet', 'mmseg'"),
    ],
)
def test_wrong_arguments_tell_the_way_out(in_scope, arguments, message):
    with in_scope('mmpretrain'), pytest.raises(ValueError, match=message) as info:
        GCPResNet(18, **arguments)
    assert isinstance(info.value, UserError)


@pytest.mark.parametrize('scope', ['mmgcp', 'mmengine', 'nobody'])
def test_scopes_that_name_no_framework(in_scope, scope):
    with in_scope(scope):
        with pytest.raises(ValueError, match=f'default_scope={scope!r}'):
            GCPResNet(18, 'stride')
        assert GCPResNet(18, 'stride', framework='mmdet').framework == 'mmdet'


def test_three_stages(framework):
    stages = dict(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1))
    net = own(framework, out_indices=(2,), **stages)
    assert net.out_strides == (16,)
    assert net.out_channels == (16,)


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
    MODELS.build(dict(type='mmgcp.SoViT', arch='deit-tiny'))
assert not set(sys.modules) & set({blocked!r})
with DefaultScope.overwrite_default_scope({other!r}):
    try:
        MODELS.build(dict(type='mmgcp.GCPResNet', depth=18, last_stage='stride'))
    except ModuleNotFoundError as error:
        assert 'mmgcp.GCPResNet needs {other}' in str(error), error
    else:
        raise SystemExit('built without its framework')
"""


def test_one_framework_alone_is_enough():
    pytest.importorskip('mmseg.models')
    blocked = [name for name in FRAMEWORKS if name != 'mmseg']
    code = LONE.format(scope='mmseg', blocked=blocked, other=blocked[0])
    run = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stdout + run.stderr
