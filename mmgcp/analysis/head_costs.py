"""What each pooling head costs behind a given encoder."""

from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from .flops import count_flops, count_kept_bytes
from .runs import Run

# Pooling heads of a classifier: normalisation of the covariance, and dropout.
POOLING_HEADS: dict[str, dict | None] = {
    'gap': None,
    'dropcov': {'dropout': {'type': 'AdaptiveChannelDropout'}},
    'isqrt, 3 iterations': {'normalization': {'type': 'NewtonSchulz', 'iterations': 3}},
    'isqrt, 5 iterations': {'normalization': {'type': 'NewtonSchulz', 'iterations': 5}},
    'mpn': {'normalization': {'type': 'MatrixPower', 'alpha': 0.5}},
}


def pooling_heads(
    run: Run, image: Sequence[int], reduced_channels: int | None
) -> dict[str, dict]:
    """Neck and linear layer behind this encoder, for each pooling head."""
    import mmgcp.models  # noqa: F401  (registers the necks)

    model = run.model
    with torch.no_grad():
        features = model.backbone(torch.zeros(*image, device=run.device))[-1]
    if features.dim() != 4:
        return {}
    # Counts depend on the shape alone, and an eigendecomposition may fail on
    # the values that an encoder with random weights gives.
    features = torch.randn_like(features)
    channels = features.shape[1]
    own = getattr(model.neck, 'reduced_channels', None)
    reduced = reduced_channels or own or 64
    classes = getattr(model.head, 'num_classes', 1000)
    rows = {}
    for name, arguments in POOLING_HEADS.items():
        if arguments is None:
            neck, width = nn.AdaptiveAvgPool2d(1), channels
        else:
            neck = MODELS.build(
                {
                    'type': 'mmgcp.GlobalCovariancePooling',
                    'in_channels': channels,
                    'reduced_channels': reduced,
                    **arguments,
                }
            )
            width = reduced * (reduced + 1) // 2
        head = nn.ModuleDict({'neck': neck, 'fc': nn.Linear(width, classes)})
        head.to(run.device).eval()
        rows[name] = {
            'covariance_channels': None if arguments is None else reduced,
            'vector': width,
            'feature_map': list(features.shape[1:]),
            'parameters': sum(p.numel() for p in head.parameters()),
            **_head_counts(head, features, arguments is None),
        }
    return rows


def _head_counts(modules: nn.ModuleDict, features: Tensor, gap: bool) -> dict:
    def call(maps: Tensor) -> Tensor:
        pooled = modules['neck'](maps if gap else (maps,))
        pooled = pooled.flatten(1) if gap else pooled[0]
        return modules['fc'](pooled)

    with torch.no_grad():
        flops, _ = count_flops(lambda: call(features), {})
    # Dropout keeps something in training only, where batch norm wants two images.
    modules.train()
    twice = torch.cat([features, features])
    kept, _ = count_kept_bytes(lambda: call(twice), modules, {})
    return {'multiply_adds': flops // 2, 'activation_bytes': kept // 2}
