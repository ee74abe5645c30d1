"""Pooling layers against the published algorithms, forward and backward."""

from collections.abc import Callable

import torch
from torch import Tensor

from mmgcp import layers

from .official import OfficialDropCov, official_isqrt
from .timing import Variant

SHAPES = [(32, 256, 14, 14), (32, 128, 14, 14), (8, 256, 7, 7)]


def pooling_variants(
    shape: tuple[int, int, int, int],
    iterations: int = 5,
    device: str = 'cpu',
    compiled: bool = False,
) -> list[Variant]:
    """Variants for features of one shape ``(B, C, H, W)``, rectified Gaussian noise.

    Args:
        shape: Shape of the features.
        iterations: Newton-Schulz steps.
        device: ``'cpu'`` or ``'cuda'``. The published code is CPU-only as written
            here; on a GPU the plain operations of this package are the baseline.
        compiled: Add a compiled form of each of our variants.
    """
    batch, channels = shape[:2]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator).relu().to(device).requires_grad_()
    grad = torch.randn(batch, channels * (channels + 1) // 2, generator=generator)
    grad = grad.to(device)

    def plain_root(x: Tensor) -> Tensor:
        root = layers.newton_schulz_sqrt(layers.covariance(x), iterations)
        return layers.triangle(root)

    dropout = layers.DropCov(channels).to(device)
    ours = {
        'isqrt plain': plain_root,
        'isqrt': layers.NewtonSchulz(iterations).from_features,
        'exact root': layers.MatrixPower(0.5).from_features,
        'dropcov': lambda x: layers.covariance_vector(dropout(x)),
    }
    first, second = 'isqrt plain', 'dropcov'
    published: dict[str, Callable] = {}
    if device == 'cpu':
        first, second = 'isqrt official', 'dropcov official'
        published[first] = lambda x: official_isqrt(x, iterations)
        published[second] = OfficialDropCov()
    if compiled:
        ours.update({f'{n} compiled': torch.compile(f) for n, f in list(ours.items())})
    return [
        Variant(
            name,
            _step(function, x, grad),
            second if name.startswith('dropcov') else first,
        )
        for name, function in {**published, **ours}.items()
    ]


def _step(function: Callable, x: Tensor, grad: Tensor) -> Callable:
    def step():
        x.grad = None
        out = function(x)
        out.backward(grad.view_as(out))

    return step
