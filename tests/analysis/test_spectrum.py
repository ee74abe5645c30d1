"""Spectra that were chosen, and the numbers that sum them up."""

import math

import numpy as np
import pytest
import torch

from mmgcp.analysis.spectrum import (
    Moments,
    linear_cka,
    mean_correlation,
    normalization_effect,
    positions,
    summarize,
)
from mmgcp.models.necks.global_covariance_pooling import GlobalCovariancePooling

from .quadratic import symmetric


def vectors_with(covariance, count=64):
    """Vectors with exactly this covariance and a mean that is not zero."""
    size = len(covariance)
    white = torch.linalg.qr(torch.randn(count, size + 1, dtype=torch.float64))[0]
    white = white - white.mean(0)
    white = torch.linalg.qr(white)[0][:, :size] * math.sqrt(count)
    return white @ torch.linalg.cholesky(covariance).T + 3


def test_pieces_give_the_chosen_spectrum():
    eigenvalues = [8.0, 4.0, 2.0, 1.0]
    vectors = vectors_with(symmetric(eigenvalues))
    whole = Moments(4)
    for piece in vectors.split(10):
        whole.add(piece)
    assert whole.describe()['eigenvalues'] == pytest.approx(eigenvalues)
    raw = Moments(4, centered=False)
    raw.add(vectors)
    torch.testing.assert_close(raw.matrix(), vectors.T @ vectors / len(vectors))


def test_equal_eigenvalues_have_full_effective_rank():
    summary = summarize(np.array([2.0, 2.0, 2.0, 0.0]))
    assert summary['effective_rank'] == pytest.approx(3.0)
    assert summary['participation'] == pytest.approx(3.0)
    assert (summary['rank'], summary['condition']) == (3, 1.0)
    assert summarize(np.zeros(3))['effective_rank'] == 0


def test_uneven_eigenvalues():
    summary = summarize(np.array([3.0, 1.0]))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert summary['effective_rank'] == pytest.approx(math.exp(entropy))
    assert summary['participation'] == pytest.approx(1.6)
    assert summary['condition'] == pytest.approx(3.0)


def test_mean_correlation_ignores_dead_channels():
    covariance = torch.tensor([[4.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert mean_correlation(covariance) == pytest.approx(0.5)
    assert mean_correlation(torch.eye(3)) == 0


def test_cka_knows_rotation_and_independence():
    x = torch.randn(50, 4, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0]
    assert linear_cka(x, 3 * x @ rotation + 1) == pytest.approx(1.0)
    both = torch.linalg.qr(torch.randn(50, 5, dtype=torch.float64))[0]
    both = torch.linalg.qr(both - both.mean(0))[0]
    assert linear_cka(both[:, :2], both[:, 2:4]) == pytest.approx(0.0, abs=1e-12)


@torch.no_grad()
def test_effect_of_a_normalization_on_maps_and_on_tokens():
    torch.manual_seed(0)
    neck = GlobalCovariancePooling(6, 4, dict(type='NewtonSchulz')).eval()
    maps = torch.rand(1, 6, 3, 3)
    tokens = torch.cat([torch.zeros(1, 1, 6), maps.flatten(2).transpose(1, 2)], 1)
    (found,) = normalization_effect(neck, (maps,))
    assert normalization_effect(neck, (tokens,)) == [pytest.approx(found)]
    assert found['effective_rank_pooled'] > found['effective_rank_covariance']


def test_positions_of_maps_and_tokens():
    maps = torch.arange(24.0).view(2, 3, 2, 2)
    assert torch.equal(positions(maps)[1], maps[0, :, 0, 1])
    tokens = torch.randn(2, 5, 3)
    assert torch.equal(positions(tokens)[6], tokens[1, 1])
