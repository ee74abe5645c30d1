"""Pooling layers against the published algorithms, forward and backward."""

from collections.abc import Callable

import torch

from mmgcp import layers
from mmgcp.layers.dispatch import choose_path

from .official import OfficialDropCov, official_isqrt
from .timing import Variant

SHAPES = [(32, 256, 14, 14), (32, 128, 14, 14), (8, 256, 7, 7)]
# What the ratios to the published algorithm have to reach on two CPU cores with
# five steps, by shape and variant.
TARGETS: dict[tuple[int, ...], dict[str, dict[str, float]]] = {
    (32, 256, 14, 14): {
        'isqrt': {'time': 0.31, 'peak': 0.50},
        'isqrt fit': {'time': 0.26},
        'exact root': {'time': 0.21, 'peak': 0.20},
        'dropcov': {'time': 0.55},
    },
    (32, 128, 14, 14): {
        'isqrt': {'time': 0.55, 'peak': 0.75},
        'isqrt fit': {'time': 0.45},
        'exact root': {'time': 0.65},
        'dropcov': {'time': 0.57},
    },
    (8, 256, 7, 7): {
        'isqrt': {'time': 0.055},
        'exact root': {'time': 0.05},
        'dropcov': {'time': 0.62},
    },
}


def _step(function: Callable, x: torch.Tensor, grad: torch.Tensor) -> Callable:
    def step():
        x.grad = None
        out = function(x)
        out.backward(grad.view_as(out))

    return step


def pooling_variants(
    shape: tuple[int, int, int, int],
    iterations: int = 5,
    device: str = 'cpu',
    compile: bool = False,
    channels_last: bool = False,
    dtype: torch.dtype | None = None,
    targets: dict | None = None,
) -> list[Variant]:
    """Variants for features of one shape ``(B, C, H, W)``.

    Args:
        shape: Shape of the features, rectified Gaussian noise.
        iterations: Newton-Schulz steps.
        device: ``'cpu'`` or ``'cuda'``. The published code is CPU-only as written
            here; on a GPU the plain operations of this package are the baseline.
        compile: Add a compiled form of each of our variants.
        channels_last: Memory format of the features.
        dtype: Dtype of the features, float32 if None.
        targets: Targets by variant; those of the shape if None.
    """
    batch, channels = shape[:2]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator).relu()
    grad = torch.randn(batch, channels * (channels + 1) // 2, generator=generator)
    x, grad = x.to(device, dtype), grad.to(device, dtype)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    x.requires_grad_()

    def root(**kwargs):
        module = layers.NewtonSchulz(iterations, **kwargs)
        return lambda x: module.forward_features(x.flatten(2))

    exact = layers.MatrixPower(0.5)
    dropout = layers.AdaptiveChannelDropout(channels).to(device)
    ours = {
        'isqrt plain': root(path='plain'),
        # What a GPU, torch.compile and `fit` take: never eigenvalues.
        'isqrt products': root(path=choose_path('auto', x.flatten(2))),
        'isqrt': root(),
        'exact root': lambda x: exact.forward_features(x.flatten(2)),
        'dropcov': dropout.covariance_vector,
    }
    if iterations == 5:
        ours['isqrt fit'] = root(fit=True)
    if device == 'cpu':
        published = {
            'isqrt official': lambda x: official_isqrt(x, iterations),
            'dropcov official': OfficialDropCov(),
        }
        first, second = 'isqrt official', 'dropcov official'
    else:
        published = {'dropcov plain': lambda x: dropout.covariance_vector(x, 'plain')}
        first, second = 'isqrt plain', 'dropcov plain'
    if compile:
        ours.update({f'{n} compiled': torch.compile(f) for n, f in list(ours.items())})
    if targets is None:
        # For the default number of steps on a CPU.
        comparable = device == 'cpu' and iterations == 5
        targets = TARGETS.get(tuple(shape), {}) if comparable else {}
    return [
        Variant(
            name,
            _step(function, x, grad),
            second if name.startswith('dropcov') else first,
            targets=targets.get(name, {}),
        )
        for name, function in {**published, **ours}.items()
    ]
