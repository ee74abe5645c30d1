"""An encoder is filled completely and stays so, or loading raises."""

import logging

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.model import BaseModel, BaseModule, ImgDataPreprocessor
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn

from mmgcp.weights import CheckpointError, KeyMismatchError, file_sha256
from mmgcp.weights.files import save_atomically, tensor_sha256, tensors_sha256

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


class Block(BaseModule):
    def __init__(self):
        super().__init__(init_cfg=dict(type='Constant', layer='Conv2d', val=7.0))
        self.conv = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 4, 1)


class PlainBlock(nn.Module):
    """Initialises itself whenever a parent asks, and has no ``is_init``."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def init_weights(self):
        nn.init.constant_(self.scale, 3.0)


class Encoder(BaseModule):
    """Zeroes its last normalisation after everything else, as mmpretrain's ResNet."""

    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.block = Block()
        self.plain = PlainBlock()
        self.norm = nn.BatchNorm2d(4)

    def init_weights(self):
        super().init_weights()
        if isinstance(self.init_cfg, dict) and self.init_cfg['type'] == 'Pretrained':
            return
        nn.init.zeros_(self.norm.weight)


class Model(BaseModel):
    def __init__(self, init_cfg, **preprocessor):
        settings = dict(mean=MEAN, std=STD, bgr_to_rgb=True) | preprocessor
        super().__init__(data_preprocessor=ImgDataPreprocessor(**settings))
        self.backbone = Encoder(init_cfg)

    def forward(self):
        raise NotImplementedError


@pytest.fixture
def tensors():
    return {
        name: torch.randn(t.shape) if t.is_floating_point() else torch.tensor(5)
        for name, t in Encoder().state_dict().items()
    }


@pytest.fixture
def records():
    """What is logged while the test runs."""
    found = []

    class Collect(logging.Handler):
        def emit(self, record):
            found.append(record)

    logger, handler = MMLogger.get_current_instance(), Collect()
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


def _cfg(path, **kwargs):
    return dict(type='mmgcp.PretrainedEncoder', checkpoint=str(path), **kwargs)


def _encoder_file(path, tensors, **meta):
    meta = dict(
        sha256=tensors_sha256(tensors),
        pooling_head='dropcov',
        mean=str(MEAN),
        std=str(STD),
        to_rgb='true',
        **meta,
    )
    return save_atomically({'state_dict': tensors, 'meta': meta}, path)


def _load(path, **kwargs):
    model = Model(_cfg(path, **kwargs))
    model.init_weights()
    return model


def _assert_loaded(model, tensors):
    for name, tensor in model.backbone.state_dict().items():
        assert torch.equal(tensor, tensors[name]), name


def test_values_are_loaded_and_survive_the_other_initialisers(tmp_path, tensors):
    model = _load(_encoder_file(tmp_path / 'e.pth', tensors))
    _assert_loaded(model, tensors)
    model.init_weights()
    _assert_loaded(model, tensors)


def test_after_other_initialisers_of_a_list_but_not_before(tmp_path, tensors):
    path = _encoder_file(tmp_path / 'e.pth', tensors)
    constant = dict(type='Constant', layer='Conv2d', val=1.0)
    model = Model([constant, _cfg(path)])
    model.init_weights()
    _assert_loaded(model, tensors)
    pretrained = dict(type='Pretrained', checkpoint=str(path))
    for wrong in ([_cfg(path), constant], [pretrained, _cfg(path)]):
        with pytest.raises(ValueError, match='last entry'):
            Model(wrong).init_weights()


def test_one_line_says_what_was_loaded(tmp_path, tensors, records):
    path = _encoder_file(tmp_path / 'e.pth', tensors)
    _load(path)
    lines = [r.getMessage() for r in records if r.getMessage().startswith('Encoder')]
    assert len(lines) == 1
    count = len(tensors)
    for part in (str(path), file_sha256(path), f'{count} of {count}', 'dropcov'):
        assert part in lines[0]
    assert not [r for r in records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    'wrap',
    [
        lambda t: t,
        lambda t: {'state_dict': t},
        lambda t: {'module.' + k: v for k, v in t.items()},
        lambda t: {'state_dict': {'module.backbone.' + k: v for k, v in t.items()}},
        lambda t: (
            {'backbone.' + k: v for k, v in t.items()} | {'head.x': t['plain.scale']}
        ),
    ],
    ids=['bare', 'state_dict', 'module', 'module.backbone', 'whole model'],
)
def test_accepted_forms(tmp_path, tensors, wrap):
    torch.save(wrap(tensors), tmp_path / 'w.pth')
    _assert_loaded(_load(tmp_path / 'w.pth'), tensors)


def _without(tensors, name):
    return {k: v for k, v in tensors.items() if k != name}


@pytest.mark.parametrize(
    ('spoil', 'named'),
    [
        (lambda t: {'features.' + k: v for k, v in t.items()}, 'features.block.conv'),
        (lambda t: {'model': t}, 'not tensors: model'),
        (lambda t: {'encoder.' + k: v for k, v in t.items()}, 'encoder.norm.weight'),
        (
            lambda t: {k: v[None] for k, v in t.items()},
            r'\(1, 4, 3, 3, 3\) in the file',
        ),
        (lambda t: _without(t, 'norm.running_var'), '1 missing: norm.running_var'),
        (
            lambda t: _without(t, 'norm.bias') | {'norm.beta': t['norm.bias']},
            'missing: norm.bias; 1 unexpected: norm.beta',
        ),
        (
            lambda t: t | {'block.conv.weight': t['block.conv.weight'].transpose(0, 1)},
            r'block.conv.weight is \(3, 4, 3, 3\) in the file and \(4, 3, 3, 3\)',
        ),
        (lambda t: t | {'fc.weight': t['plain.scale']}, '1 unexpected: fc.weight'),
        (lambda t: {'state_dict': {}}, 'empty'),
    ],
)
def test_wrong_names_and_shapes_raise(tmp_path, tensors, spoil, named):
    torch.save(spoil(tensors), tmp_path / 'w.pth')
    model = Model(_cfg(tmp_path / 'w.pth'))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=named) as error:
        model.init_weights()
    assert 'convert_checkpoint.py' in str(error.value)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_changed_values_are_named_even_where_the_shape_fits(tmp_path, tensors):
    digests = str({k: tensor_sha256(v)[:8] for k, v in tensors.items()})
    path = _encoder_file(
        tmp_path / 'e.pth', tensors, tensors_sha256=digests.replace("'", '"')
    )
    content = torch.load(path, weights_only=True)
    weight = content['state_dict']['block.conv2.weight']
    content['state_dict']['block.conv2.weight'] = weight.transpose(0, 1).contiguous()
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r'changed since.*\(block.conv2.weight\)'):
        _load(path)


def test_allowances_are_names_or_patterns(tmp_path, tensors):
    left_out = {k: v for k, v in tensors.items() if not k.startswith('plain.')}
    torch.save(left_out | {'fc.weight': torch.ones(1)}, tmp_path / 'w.pth')
    model = _load(
        tmp_path / 'w.pth', allow_missing=['plain.*'], allow_unexpected=['fc.weight']
    )
    assert torch.equal(model.backbone.norm.weight, tensors['norm.weight'])
    with pytest.raises(KeyMismatchError, match='fc.weight'):
        _load(tmp_path / 'w.pth', allow_missing=['plain.*'])
    torch.save({'x': torch.ones(1)}, tmp_path / 'x.pth')
    with pytest.raises(KeyMismatchError, match='fills nothing'):
        _load(tmp_path / 'x.pth', allow_missing=['*'], allow_unexpected=['*'])
    with pytest.raises(TypeError, match='has to be a list'):
        _load(tmp_path / 'w.pth', allow_missing='plain.*')


def test_pinned_digest(tmp_path, tensors):
    path = _encoder_file(tmp_path / 'e.pth', tensors)
    digest = file_sha256(path)
    _assert_loaded(_load(path, sha256=digest), tensors)
    _assert_loaded(_load(path, sha256=digest[:8].upper()), tensors)
    for wrong in ('0' * 64, digest[:4], ''):
        with pytest.raises(CheckpointError, match=digest):
            _load(path, sha256=wrong)


def test_paths(tmp_path, tensors):
    path = _encoder_file(tmp_path / 'an encoder.pth', tensors)
    _assert_loaded(_load(path.as_uri()), tensors)
    with pytest.raises(FileNotFoundError, match='absent.pth'):
        _load(tmp_path / 'absent.pth')
    with pytest.raises(CheckpointError, match='unknown scheme'):
        _load('s3://bucket/e.pth')
    with pytest.raises(CheckpointError, match='file:///'):
        _load('file://host/e.pth')
    for wrong in (None, '', 3):
        with pytest.raises(TypeError, match='checkpoint='):
            WEIGHT_INITIALIZERS.build(_cfg('') | dict(checkpoint=wrong))


@pytest.mark.parametrize(
    'other', [dict(bgr_to_rgb=False), dict(mean=[0.0] * 3), dict(std=[1.0] * 3)]
)
def test_another_input_normalisation_is_a_warning_with_both(
    tmp_path, tensors, records, other
):
    path = _encoder_file(tmp_path / 'e.pth', tensors)
    Model(ConfigDict(_cfg(path)), **other).init_weights()
    warnings = [r.getMessage() for r in records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    key, value = next(iter(other.items()))
    shown = 'to_rgb=False' if key == 'bgr_to_rgb' else f'{key}={value}'
    assert shown in warnings[0].split('Data preprocessor')[1]
    assert f'mean={MEAN}, std={STD}, to_rgb=True' in warnings[0]


def test_model_without_normalisation_is_warned_of_too(tmp_path, tensors, records):
    path = _encoder_file(tmp_path / 'e.pth', tensors)
    Model(_cfg(path), mean=None, std=None).init_weights()
    assert any('mean=None' in record.getMessage() for record in records)
