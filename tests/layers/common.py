"""The pooling that ships, inputs and comparisons that several files share."""

import pytest
import torch

from mmgcp.models.necks.global_covariance_pooling import GlobalCovariancePooling

# Every normalization by its config, small enough for gradcheck.
CONFIGS = {
    'newton_schulz_5': dict(type='NewtonSchulz', iterations=5),
    'newton_schulz_2': dict(type='NewtonSchulz', iterations=2),
    'power_0.5': dict(type='MatrixPower', alpha=0.5),
    'power_0.7': dict(type='MatrixPower', alpha=0.7),
    # eps well above rounding, which finite differences divide by 1e-6
    'logarithm': dict(type='MatrixLogarithm', eps=0.05),
    'elementwise': dict(type='ElementwisePower'),
    'elementwise_no_l2': dict(type='ElementwisePower', alpha=0.3, l2=False),
    'scale': dict(type='ScaleNorm'),
    'scale_learnable': dict(type='ScaleNorm', learnable=True),
    'layer_norm': dict(type='LayerNorm'),
    'svpn': dict(type='svPN'),
    'svpn_2_values': dict(type='svPN', iterations=2, values=2),
    'svpn_fixed': dict(type='svPN', learnable=False),
}


class Pooling(torch.nn.Module):
    """What a pooling neck does behind its reduction: (B, C, H, W) to (B, K)."""

    def __init__(self, channels, normalization=None, dropout=None):
        super().__init__()
        self.neck = GlobalCovariancePooling(
            channels, channels, normalization=normalization, dropout=dropout
        )
        del self.neck.reduction

    def forward(self, x):
        return self.neck.pool(x)


def pooling(name, channels):
    """The pooling with a normalization of :data:`CONFIGS`, or with DropCov."""
    if name == 'dropcov':
        return Pooling(channels, dropout=dict(type='DropCov'))
    return Pooling(channels, CONFIGS[name])


def features(*shape, dtype=torch.float64, seed=0):
    """Rectified features, as they leave the reduction of a network."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return x.relu().to(dtype)


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
