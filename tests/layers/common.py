"""The pooling that ships, inputs and comparisons that several files share."""

import pytest
import torch

from mmgcp import layers

# Every normalization for a number of channels, small enough for gradcheck.
NORMALIZATIONS = {
    'newton_schulz_5': lambda channels: layers.NewtonSchulz(5),
    'newton_schulz_2': lambda channels: layers.NewtonSchulz(2),
    'power_0.5': lambda channels: layers.MatrixPower(0.5),
    'power_0.7': lambda channels: layers.MatrixPower(0.7),
    # eps well above rounding, which finite differences divide by 1e-6
    'logarithm': lambda channels: layers.MatrixLogarithm(0.05),
    'elementwise': lambda channels: layers.ElementwisePower(),
    'scale': layers.ScaleNorm,
    'scale_learnable': lambda channels: layers.ScaleNorm(channels, learnable=True),
    'layer_norm': layers.CovarianceLayerNorm,
    'svpn': layers.SVPN,
    'svpn_2_values': lambda channels: layers.SVPN(channels, iterations=2, values=2),
    'scalepow_emlr': lambda channels: layers.ScalePowEMLR(2),
    'pow_tmlr': lambda channels: layers.PowTMLR(2),
    'chol_tmlr': lambda channels: layers.CholTMLR(0.05),
    'svpn_fixed': lambda channels: layers.SVPN(channels, learnable=False),
}


class Pooling(torch.nn.Module):
    """What a pooling neck does behind its reduction: (B, C, H, W) to (B, K)."""

    def __init__(self, normalization=None, dropout=None):
        super().__init__()
        self.normalization, self.dropout = normalization, dropout

    def forward(self, x):
        if self.normalization is None:
            return layers.covariance_vector(self.dropout(x))
        return self.normalization.from_features(x)


def pooling(name, channels, **dropout):
    """The pooling with one of :data:`NORMALIZATIONS`, or with DropCov."""
    if name == 'dropcov':
        return Pooling(dropout=layers.DropCov(channels, **dropout))
    return Pooling(NORMALIZATIONS[name](channels))


def features(*shape, dtype=torch.float64, seed=0):
    """Rectified features, as they leave the reduction of a network."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=generator, dtype=torch.float64, device='cpu')
    return x.relu().to(here(), dtype)


def value_and_gradient(function, x, seed=1):
    """Value, and gradient of its inner product with a fixed random vector."""
    x = x.detach().clone().requires_grad_()
    out = function(x)
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(
        out.shape, generator=generator, dtype=torch.float64, device='cpu'
    )
    out.backward(weight.to(out))
    grad = x.grad
    return out.detach(), grad


def relative(a, b):
    """Frobenius norm of the difference over that of ``b``."""
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


def here():
    """The device of tensors that name none."""
    return torch.empty(0).device


def skip_without_autocast(device, dtype):
    """Older versions of torch have no float16 autocast on the CPU."""
    try:
        with torch.autocast(device, dtype=dtype):
            pass
    except RuntimeError as error:
        pytest.skip(str(error))
