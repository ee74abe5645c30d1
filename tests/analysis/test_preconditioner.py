"""Gradients at a convolution whose moments are known."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from mmgcp.analysis.preconditioner import (
    HEADS,
    Gradients,
    Probe,
    angle,
    pool,
    principal_basis,
)


def test_gradients_of_batches_are_those_of_the_whole():
    conv = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False).double()
    images = torch.randn(5, 3, 7, 7, dtype=torch.float64)
    gradients = Gradients(conv)
    for half, batch in enumerate(images.split([2, 3])):
        output = conv(batch)
        loss = output.pow(3).flatten(1).sum(1).mean()
        gradients.add(half, loss, output, len(batch))
    output = conv(images)
    loss = output.pow(3).flatten(1).sum(1).mean()
    expected = torch.autograd.grad(loss, conv.weight)[0]
    torch.testing.assert_close(gradients.mean(0, 1), expected)
    # Each image's own gradient with respect to the output is 3 x^2.
    rows = (3 * output.square()).permute(0, 2, 3, 1).reshape(-1, 4)
    moment = gradients.outputs.matrix()
    torch.testing.assert_close(moment, rows.T @ rows / len(rows))


def test_angles():
    assert angle(torch.tensor([1.0, 0]), torch.tensor([0, 2.0])) == pytest.approx(90)
    assert angle(torch.tensor([1.0, 0]), torch.tensor([-3.0, 0])) == pytest.approx(180)
    assert math.isnan(angle(torch.zeros(2), torch.ones(2)))


@pytest.fixture
def classes():
    """Three classes of maps that differ in the mean of a channel, in four batches."""
    labels = torch.arange(3).repeat(8)
    maps = torch.rand(24, 6, 3, 3)
    maps[torch.arange(24), labels] += 2
    return maps.split(6), labels.split(6)


def test_every_head_pools_to_its_size_and_fits(classes):
    maps, labels = classes
    basis = principal_basis(maps, 4)
    torch.testing.assert_close(basis.T @ basis, torch.eye(4), atol=1e-5, rtol=0)
    for head in HEADS:
        assert pool(head, maps[0], basis).shape == (6, 6 if head == 'gap' else 10)
    probe = Probe('gap', basis, maps, labels)
    assert probe.fit['fitted_to'] == [12, 12]
    assert max(probe.fit['loss']) < max(probe.fit['held_out_loss']) < 0.5
    # Batches 0 and 2 are the first half; the second classifier did not see them.
    held_out = [float(probe.loss(maps[i], labels[i], 1)) for i in (0, 2)]
    assert np.mean(held_out) == pytest.approx(probe.fit['held_out_loss'][0], rel=1e-4)


def test_gap_gradient_has_a_rank_below_the_number_of_classes(classes):
    maps, labels = classes
    probe = Probe('gap', principal_basis(maps, 4), maps, labels)
    conv = nn.Conv2d(6, 6, 1, bias=False)
    conv.weight.data = torch.eye(6)[:, :, None, None]
    gradients = Gradients(conv)
    for index, batch in enumerate(maps):
        output = conv(batch)
        gradients.add(0, probe.loss(output, labels[index], 1), output, len(batch))
    values = gradients.outputs.describe()['eigenvalues']
    # A mix of as many vectors as logits are free: 3 - 1, up to what the fit leaves in
    # their sum.
    assert values[1] > 1e-3 * values[0]
    assert values[2] < 1e-6 * values[0]
