"""The landscape of losses whose landscape is known."""

import pytest
import torch
from torch import nn

from mmgcp.engine.landscape import loss_landscape, stem_module

STEPS = [0.5, 1.0, 2.0]


def landscape_of(function, point):
    stem = nn.Identity()
    return loss_landscape(lambda: function(stem(point)), stem, STEPS)


def test_quadratic_has_its_curvature_as_beta():
    point = torch.randn(3, 5, dtype=torch.float64)
    result = landscape_of(lambda x: 1.5 * x.square().sum(), point)
    # The gradient is 3 x; a step of eta along it multiplies x by (1 + 3 eta).
    value = 1.5 * float(point.square().sum())
    norm = 3 * float(point.norm())
    assert result['beta'] == pytest.approx([3.0] * 3)
    assert result['effective_beta'] == pytest.approx(3.0)
    assert result['gradient_norm'] == pytest.approx(norm)
    assert result['loss'] == pytest.approx([value * (1 + 3 * e) ** 2 for e in STEPS])
    assert result['gradient_change'] == pytest.approx([3 * e * norm for e in STEPS])


def test_linear_model_has_a_perfectly_predictive_gradient():
    weight = torch.randn(5, dtype=torch.float64)
    point = torch.randn(4, 5, dtype=torch.float64)
    result = landscape_of(lambda x: (x @ weight).sum(), point)
    rise = 4 * float(weight.square().sum())
    rises = [value - result['loss_at_zero'] for value in result['loss']]
    assert result['gradient_change'] == pytest.approx([0.0] * 3, abs=1e-12)
    assert rises == pytest.approx([e * rise for e in STEPS])


def test_the_largest_ratio_counts():
    point = torch.full((1,), 1.0, dtype=torch.float64)
    result = landscape_of(lambda x: x.pow(4).sum() / 4, point)
    # g = 1 at x = 1, so the ratio is ((1 + eta)^3 - 1) / eta.
    assert result['beta'] == pytest.approx([((1 + e) ** 3 - 1) / e for e in STEPS])
    assert result['effective_beta'] == max(result['beta'])


def test_a_module_that_runs_twice_is_refused():
    stem = nn.Identity()
    point = torch.ones(1)
    with pytest.raises(RuntimeError, match='2 times'):
        loss_landscape(lambda: stem(stem(point)).sum(), stem, STEPS)
    assert not stem._forward_hooks


def test_stem_by_name_and_by_default():
    model = nn.Module()
    model.backbone = nn.Module()
    model.backbone.maxpool = nn.MaxPool2d(2)
    model.backbone.other = nn.Identity()
    assert stem_module(model) is model.backbone.maxpool
    assert stem_module(model, 'backbone.other') is model.backbone.other
    with pytest.raises(ValueError, match="no module 'backbone.none'"):
        stem_module(model, 'backbone.none')
    model.backbone = nn.Linear(1, 1)
    with pytest.raises(ValueError, match='--stem'):
        stem_module(model)
