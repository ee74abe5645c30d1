"""An encoder is filled completely and stays so, or loading raises."""

import json
import logging

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.model import BaseModel, BaseModule, ImgDataPreprocessor
from torch import nn

from mmgcp.utils.config import ConfigError
from mmgcp.utils.files import file_sha256
from mmgcp.weights.errors import CheckpointError, KeyMismatchError
from mmgcp.weights.files import save_atomically
from mmgcp.weights.metadata import check_model_input

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


class Block(BaseModule):
    def __init__(self):
        super().__init__(init_cfg=dict(type='Constant', layer='Conv2d', val=7.0))
        self.conv = nn.Conv2d(3, 4, 3)


class PlainBlock(nn.Module):
    """Initializes itself whenever a parent asks, and has no ``is_init``."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def init_weights(self):
        nn.init.constant_(self.scale, 3.0)


class Encoder(BaseModule):
    """Zeroes its last normalization after everything else, as mmpretrain's ResNet."""

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


@pytest.fixture(params=['pth', 'safetensors'])
def encoder_file(request, tmp_path, tensors):
    meta = dict(
        pooling_head='dropcov',
        last_stage='native',
        mean=json.dumps(MEAN),
        std=json.dumps(STD),
        to_rgb='true',
    )
    content = {'state_dict': tensors, 'meta': meta}
    return save_atomically(content, tmp_path / f'an encoder.{request.param}')[0]


@pytest.fixture
def records():
    """What is logged while the test runs."""
    found = []
    handler = logging.Handler()
    handler.emit = found.append
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


def _cfg(path, **kwargs):
    return dict(type='mmgcp.PretrainedEncoder', checkpoint=str(path), **kwargs)


def _load(path, **kwargs):
    model = Model(_cfg(path, **kwargs))
    model.init_weights()
    return model


def _assert_loaded(model, tensors):
    for name, tensor in model.backbone.state_dict().items():
        assert torch.equal(tensor, tensors[name]), name


def test_values_survive_the_other_initializers(encoder_file, tensors):
    model = _load(encoder_file)
    _assert_loaded(model, tensors)
    model.init_weights()
    _assert_loaded(model, tensors)


def test_after_other_initializers_of_a_list_but_not_before(encoder_file, tensors):
    constant = dict(type='Constant', layer='Conv2d', val=1.0)
    model_cfg = _cfg(encoder_file)
    model = Model([constant, model_cfg])
    model.init_weights()
    _assert_loaded(model, tensors)
    pretrained = dict(type='Pretrained', checkpoint=str(encoder_file))
    for wrong in ([model_cfg, constant], [pretrained, model_cfg]):
        with pytest.raises(ConfigError, match='last entry'):
            Model(wrong).init_weights()


def test_one_line_says_what_was_loaded(encoder_file, tensors, records):
    _load(encoder_file)
    lines = [record.getMessage() for record in records]
    [line] = [line for line in lines if line.startswith('Encoder loaded')]
    count = len(tensors)
    for part in (
        *(str(encoder_file), file_sha256(encoder_file), f'{count} of {count} tensors'),
        *('pooling head dropcov', 'last stage native', f'mean {MEAN}, std {STD}, RGB'),
    ):
        assert part in line


@pytest.mark.parametrize(
    'wrap',
    [
        lambda t: t,
        lambda t: {'state_dict': {'module.backbone.' + k: v for k, v in t.items()}},
        lambda t: (
            {'backbone.' + k: v for k, v in t.items()} | {'head.x': t['plain.scale']}
        ),
    ],
)
def test_accepted_forms(tmp_path, tensors, wrap):
    torch.save(wrap(tensors), tmp_path / 'w.pth')
    _assert_loaded(_load(tmp_path / 'w.pth'), tensors)


@pytest.mark.parametrize(
    ('spoil', 'named'),
    [
        (
            lambda t: {'features.' + k: v for k, v in t.items()},
            'features.block.conv.weight',
        ),
        (
            lambda t: {k.replace('bias', 'beta'): v for k, v in t.items()},
            'Missing.*"norm.bias".*Unexpected.*"norm.beta"',
        ),
        (
            lambda t: t | {'block.conv.weight': t['block.conv.weight'].transpose(0, 1)},
            r'block.conv.weight.*\[3, 4, 3, 3\].*\[4, 3, 3, 3\]',
        ),
        (lambda t: t | {'norm.weight': t['norm.weight'] / 0}, 'finite.* norm.weight'),
    ],
)
def test_wrong_files_raise(tmp_path, tensors, spoil, named):
    torch.save(spoil(tensors), tmp_path / 'w.pth')
    with pytest.raises(CheckpointError, match=named) as error:
        _load(tmp_path / 'w.pth')
    if isinstance(error.value, KeyMismatchError):
        assert 'convert_checkpoint.py' in str(error.value)


def test_allowances_are_names_or_patterns(tmp_path, tensors):
    left_out = {k: v for k, v in tensors.items() if not k.startswith('plain.')}
    torch.save(left_out, tmp_path / 'w.pth')
    for allowed in (['plain.*'], 'plain.scale'):
        model = _load(tmp_path / 'w.pth', allow_missing=allowed)
        assert torch.equal(model.backbone.norm.weight, tensors['norm.weight'])
        assert torch.equal(model.backbone.plain.scale, torch.ones(4))
    with pytest.raises(KeyMismatchError, match=r'plain\.scale'):
        _load(tmp_path / 'w.pth', allow_missing='norm.*')
    torch.save({'x': torch.ones(1)}, tmp_path / 'x.pth')
    with pytest.raises(KeyMismatchError):
        _load(tmp_path / 'x.pth', allow_missing=['*'])


def test_pinned_digest(encoder_file, tensors):
    digest = file_sha256(encoder_file)
    _assert_loaded(_load(encoder_file, sha256=digest[:8].upper()), tensors)
    for wrong in ('0' * 64, digest[:4], ''):
        with pytest.raises(CheckpointError, match=digest):
            _load(encoder_file, sha256=wrong)


def test_paths(encoder_file, tensors):
    _assert_loaded(_load(encoder_file.as_uri()), tensors)
    for source, error in (
        ('absent.pth', FileNotFoundError),
        ('s3://bucket/e.pth', CheckpointError),
        ('file://host/e.pth', CheckpointError),
    ):
        with pytest.raises(error, match=source):
            _load(source)


@pytest.mark.parametrize(
    ('other', 'shown'),
    [
        ({}, None),
        (dict(bgr_to_rgb=False), 'BGR'),
        (dict(mean=[0.0] * 3), 'mean [0.0, 0.0, 0.0]'),
        (dict(mean=None, std=None), 'mean None, std None'),
    ],
)
def test_another_input_is_a_warning_with_both(encoder_file, records, other, shown):
    model = Model(ConfigDict(_cfg(encoder_file)), **other)
    model.init_weights()
    check_model_input(model)
    found = [r.getMessage() for r in records if r.levelno == logging.WARNING]
    assert len(found) == (shown is not None)
    if shown:
        assert shown in found[0].split('Data preprocessor')[1]
        assert f'Encoder: mean {MEAN}, std {STD}, RGB' in found[0]
