"""Pooling layers against the published algorithms, forward and backward."""

from collections.abc import Callable

import torch
from torch import Tensor

from mmgcp import layers

from .official import OfficialDropCov, official_isqrt
from .timing import Variant, graphed

SHAPES = [(32, 256, 14, 14), (32, 128, 14, 14), (8, 256, 7, 7)]
LARGE = [(256, 256, 14, 14)]  # what fills a GPU
STEPS = 5  # of Newton-Schulz


def pooling_variants(
    shape: tuple[int, int, int, int],
    device: str = 'cpu',
    dtype: torch.dtype = torch.float32,
    compiled: bool = False,
    graphs: bool = False,
) -> list[Variant]:
    """Variants for features of one shape ``(B, C, H, W)``, rectified Gaussian noise.

    Args:
        shape: Shape of the features.
        device: ``'cpu'`` or ``'cuda'``.
        dtype: Of the features, as the layers before leave them.
        compiled: Add a compiled form of each of our variants.
        graphs: Add a CUDA graph of each that can be captured. The exact root cannot:
            torch waits for its eigenvalues.
    """
    batch, channels = shape[:2]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator).relu()
    x = x.to(device, dtype).requires_grad_()
    grad = torch.randn(batch, channels * (channels + 1) // 2, generator=generator)
    grad = grad.to(device, dtype)

    def plain_root(x: Tensor) -> Tensor:
        root = layers.newton_schulz_sqrt(layers.covariance(x), STEPS)
        return layers.triangle(root)

    dropout = layers.DropCov(channels).to(device, dtype)
    ours = {
        'isqrt plain': plain_root,
        'isqrt': layers.NewtonSchulz(STEPS).from_features,
        'exact root': layers.MatrixPower(0.5).from_features,
        'dropcov': lambda x: layers.covariance_vector(dropout(x)),
    }
    published = {
        'isqrt official': lambda x: official_isqrt(x, STEPS),
        'dropcov official': OfficialDropCov().to(device, dtype),
    }
    if compiled:
        ours.update({f'{n} compiled': torch.compile(f) for n, f in list(ours.items())})
    steps = {n: _step(f, x, grad) for n, f in {**published, **ours}.items()}
    for name in ('isqrt plain', 'isqrt', 'dropcov') if graphs else ():
        steps[f'{name} graph'] = graphed(steps[name])
    return [
        Variant(
            name,
            step,
            f'{"dropcov" if name.startswith("dropcov") else "isqrt"} official',
        )
        for name, step in steps.items()
    ]


def _step(function: Callable, x: Tensor, grad: Tensor) -> Callable:
    def step():
        x.grad = None
        out = function(x)
        out.backward(grad.view_as(out))

    return step
