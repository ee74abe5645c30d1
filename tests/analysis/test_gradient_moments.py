"""Gradients at a convolution whose moments are known."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from mmgcp.analysis.gradient_moments import (
    GradientMoments,
    angle,
    kfac_direction,
    patches,
)
from mmgcp.analysis.probes import HEADS, Probe, pool, principal_basis

from .quadratic import symmetric


def test_weight_gradient_is_that_of_autograd():
    conv = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False).double()
    images = torch.randn(5, 3, 7, 7, dtype=torch.float64)
    output = conv(images)
    loss = output.pow(3).flatten(1).sum(1).mean()
    expected, gradient = torch.autograd.grad(loss, [conv.weight, output])
    moments = GradientMoments()
    moments.add(images, gradient, conv)
    torch.testing.assert_close(
        moments.mean().view_as(expected), expected, rtol=1e-5, atol=1e-6
    )
    # Each image's own gradient, not its share of the batch's.
    one = conv(images[:1]).pow(3).sum()
    alone = torch.autograd.grad(one, conv.weight)[0]
    torch.testing.assert_close(
        moments.samples[0].double().view_as(alone), alone, rtol=1e-5, atol=1e-6
    )


def test_spectrum_of_orthogonal_gradients_is_their_lengths():
    conv = nn.Conv2d(4, 1, 1, bias=False)
    lengths = torch.tensor([4.0, 2.0, 1.0, 0.0])
    images = torch.eye(4)[:, :, None, None]
    # The gradient of a 1x1 convolution at one position is output times input.
    gradient = lengths[:, None, None, None] / 4
    moments = GradientMoments()
    moments.add(images, gradient, conv)
    assert moments.sample_spectrum() == pytest.approx(lengths.square().numpy() / 4)
    described = moments.describe()
    assert described['output_gradient']['trace'] == pytest.approx(21 / 4)
    assert described['weight_gradient']['rank'] == 3
    assert described['norm'] == pytest.approx(float(lengths.norm()) / 4)


def test_kfac_solves_with_the_kronecker_product():
    left, right = symmetric([3.0, 1.0]), symmetric([5.0, 2.0, 0.1], seed=1)
    gradient = torch.randn(2, 3, dtype=torch.float64)
    damped = [m + 0.1 * m.diagonal().mean() * torch.eye(len(m)) for m in (left, right)]
    expected = torch.linalg.solve(torch.kron(*damped), gradient.reshape(-1))
    step = kfac_direction(gradient, left, right, 0.1)
    torch.testing.assert_close(step.reshape(-1), expected)


def test_kfac_of_white_moments_changes_no_direction():
    gradient = torch.randn(3, 4, dtype=torch.float64)
    eye3, eye4 = torch.eye(3).double(), torch.eye(4).double()
    step = kfac_direction(gradient, 2 * eye3, 7 * eye4, 0.1)
    assert angle(step, gradient) == pytest.approx(0, abs=1e-5)
    assert not kfac_direction(0 * gradient, 0 * eye3, eye4, 0.1).any()


def test_angles():
    assert angle(torch.tensor([1.0, 0]), torch.tensor([0, 2.0])) == pytest.approx(90)
    assert angle(torch.tensor([1.0, 0]), torch.tensor([-3.0, 0])) == pytest.approx(180)
    assert math.isnan(angle(torch.zeros(2), torch.ones(2)))


def test_grouped_convolutions_are_refused():
    with pytest.raises(ValueError, match='2 groups'):
        patches(torch.zeros(1, 4, 3, 3), nn.Conv2d(4, 4, 1, groups=2))


@pytest.fixture
def classes():
    """Three classes of maps that differ in the mean of a channel."""
    labels = torch.arange(3).repeat(8)
    maps = torch.rand(24, 6, 3, 3)
    maps[torch.arange(24), labels] += 2
    return maps, labels


def test_every_head_pools_to_its_size_and_fits(classes):
    maps, labels = classes
    basis = principal_basis([maps], 4)
    torch.testing.assert_close(basis.T @ basis, torch.eye(4), atol=1e-5, rtol=0)
    for head in HEADS:
        assert pool(head, maps, basis).shape == (24, 6 if head == 'gap' else 10)
    probe = Probe('gap', basis, [maps[:10], maps[10:]], labels)
    assert probe.fit['accuracy_on_its_sample'] == 1.0
    assert float(probe.loss(maps, labels)) == pytest.approx(probe.fit['loss'], rel=1e-4)


def test_gap_gradient_has_a_rank_below_the_number_of_classes(classes):
    maps, labels = classes
    maps = maps.requires_grad_()
    probe = Probe('gap', principal_basis([maps.detach()], 4), [maps.detach()], labels)
    gradient = torch.autograd.grad(probe.loss(maps, labels), maps)[0]
    # The same at every position, and a mix of as many vectors as logits are
    # free: 3 - 1, up to what the fit leaves in their sum.
    assert torch.equal(gradient, gradient[:, :, :1, :1].expand_as(gradient))
    moments = GradientMoments()
    moments.add(maps.detach(), gradient, nn.Conv2d(6, 6, 1))
    values = np.asarray(moments.describe()['output_gradient']['eigenvalues'])
    assert values[1] > 1e-3 * values[0]
    assert values[2] < 1e-6 * values[0]
