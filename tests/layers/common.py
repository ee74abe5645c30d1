"""Inputs and checks that several files share."""

import pytest
import torch

from mmgcp import layers


def normalizations(channels):
    """Every normalisation, small enough for gradcheck."""
    return {
        'newton_schulz_5': layers.NewtonSchulz(5),
        'newton_schulz_2': layers.NewtonSchulz(2),
        'newton_schulz_fit': layers.NewtonSchulz(5, fit=True),
        'power_0.5': layers.MatrixPower(0.5),
        'power_0.7': layers.MatrixPower(0.7),
        # eps well above rounding, which finite differences divide by 1e-6
        'logarithm': layers.MatrixLogarithm(eps=0.05),
        'elementwise': layers.ElementwisePower(),
        'elementwise_no_l2': layers.ElementwisePower(0.3, l2=False),
        'scale': layers.ScaleNorm(channels),
        'scale_learnable': layers.ScaleNorm(channels, learnable=True),
        'layer_norm': layers.CovarianceLayerNorm(channels),
        'svpn': layers.SVPN(channels),
        'svpn_2_values': layers.SVPN(channels, iterations=2, values=2),
        'svpn_fixed': layers.SVPN(channels, learnable=False),
    }


NAMES = sorted(normalizations(4))


class Tail(torch.nn.Module):
    """Covariance, one normalisation and the triangle, from features (B, C, H, W)."""

    def __init__(self, normalization, dropout=None):
        super().__init__()
        self.normalization, self.dropout = normalization, dropout

    def forward(self, x):
        if self.normalization is None and self.dropout is not None:
            return self.dropout.covariance_vector(x)
        if self.dropout is not None:
            x = self.dropout(x)
        if self.normalization is None:
            return layers.covariance_vector(x)
        if hasattr(self.normalization, 'forward_features'):
            return self.normalization.forward_features(x.flatten(2))
        return layers.triangle(self.normalization(layers.covariance(x)))


def features(*shape, dtype=torch.float64, seed=0):
    """Rectified features, as they leave the reduction of a network."""
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(*shape, generator=generator, dtype=torch.float64).relu().to(dtype)
    )


def value_and_gradient(function, x, seed=1):
    """Value, and gradient of its inner product with a fixed random vector."""
    x = x.detach().clone().requires_grad_()
    out = function(x)
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    (grad,) = torch.autograd.grad((out.double() * weight).sum(), x)
    return out.detach(), grad


def relative(a, b):
    """Frobenius norm of the difference over that of ``b``."""
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


def skip_without_autocast(dtype):
    """Older versions of torch have no float16 autocast on the CPU."""
    try:
        with torch.autocast('cpu', dtype=dtype):
            pass
    except RuntimeError as error:
        pytest.skip(str(error))
