"""Walks over a quadratic bowl."""

import numpy as np
import pytest
import torch
from torch import nn

from mmgcp.analysis.curvature import along, filter_normalized, sharpness
from mmgcp.analysis.hessian import SampleLoss

from .quadratic import Quadratic, batches


@pytest.fixture
def bowl():
    model = Quadratic(torch.diag(torch.tensor([4.0, 1.0])), torch.tensor([3.0, 4.0]))
    return SampleLoss(model, batches(1.0))


def value(x, y):
    return 2 * x**2 + y**2 / 2


def test_line_and_plane_are_the_quadratic(bowl):
    x, y = torch.eye(2, dtype=torch.float64)
    steps = np.array([-1.0, 0.0, 0.5])
    line = along(bowl, [x], steps)
    assert line == pytest.approx(value(3 + steps, 4))
    plane = along(bowl, [x, y], steps)
    assert plane[0, 2] == pytest.approx(value(2, 4.5))
    assert plane[1] == pytest.approx(value(3, 4 + steps))


def test_first_step_uphill_is_along_the_gradient(bowl):
    (row,) = sharpness(bowl, [0.1], ascent_steps=1)
    # Weights of norm 5, so a ball of 0.5; the gradient is (12, 4).
    x, y = np.array([3, 4]) + 0.5 * np.array([12, 4]) / np.hypot(12, 4)
    assert row['one_step'] == pytest.approx(value(x, y) - value(3, 4), rel=1e-5)
    assert row['ascent'] == row['one_step']


def test_more_steps_reach_the_maximum_in_the_ball(bowl):
    (row,) = sharpness(bowl, [0.4], ascent_steps=30)
    angles = np.linspace(0, 2 * np.pi, 100_000)
    best = value(3 + 2 * np.cos(angles), 4 + 2 * np.sin(angles)).max() - value(3, 4)
    assert row['one_step'] < row['ascent'] <= best * (1 + 1e-6)
    assert row['ascent'] == pytest.approx(best, rel=1e-3)


def test_where_there_is_no_slope_nothing_rises():
    model = Quadratic(torch.zeros(2, 2), torch.tensor([3.0, 4.0]))
    (row,) = sharpness(SampleLoss(model, batches(1.0)), [0.1], ascent_steps=3)
    assert row == {'radius': 0.1, 'one_step': 0.0, 'ascent': 0.0}


def test_directions_have_the_length_of_each_filter():
    layers = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Linear(4, 2))
    parameters = list(layers.parameters())
    flat = filter_normalized(parameters, seed=1)
    pieces = flat.split([p.numel() for p in parameters])
    for parameter, piece in zip(parameters, pieces, strict=True):
        if parameter.dim() == 1:
            assert not piece.any()
        else:
            rows = piece.view_as(parameter).flatten(1).norm(dim=1).float()
            torch.testing.assert_close(rows, parameter.flatten(1).norm(dim=1))
    assert torch.equal(flat, filter_normalized(parameters, seed=1))
    assert not torch.equal(flat, filter_normalized(parameters, seed=2))
