"""ResNet encoders: the framework's own against GCPResNet with every last stage."""

import argparse
from collections.abc import Iterator

import torch
from mmengine.registry import init_default_scope

from mmgcp.registry import MODELS

from .pooling import pooling_variants
from .timing import Variant

# Share of a training step of a GCP ResNet-50 that pooling may take.
SHARES = {'isqrt': {'time': 0.015}, 'dropcov': {'time': 0.0025}}


def encoder_groups(args: argparse.Namespace) -> Iterator[tuple[str, list[Variant]]]:
    """Inference and training of one depth, as ``(title, variants)``."""
    for training in (False, True):
        title = (
            f'ResNet-{args.depth}, {"training" if training else "inference"}, '
            f'{args.batch} x 3 x {args.size} x {args.size}, {args.scope}'
        )
        yield title, encoder_variants(args, training)


def encoder_variants(args: argparse.Namespace, training: bool) -> list[Variant]:
    """The framework's ResNet (twice: the second shows the noise) and GCPResNet.

    With ``channels_last`` also two of them in that memory format.
    """
    init_default_scope(args.scope)
    common = dict(depth=args.depth, norm_eval=False)
    configs = {
        'framework': dict(type=f'{args.scope}.ResNet', **common),
        'framework again': dict(type=f'{args.scope}.ResNet', **common),
        **{
            f'GCPResNet {stage}': dict(
                type='mmgcp.GCPResNet', last_stage=stage, **common
            )
            for stage in ('stride', 'maxpool', 'native')
        },
    }
    x = torch.randn(args.batch, 3, args.size, args.size, device=args.device)
    variants = []
    for name, config in configs.items():
        plain = _variant(name, config, x, training, torch.contiguous_format)
        variants.append(plain)
    if training:
        variants += _pooling(args)
    if args.channels_last:
        for name in ('framework', 'GCPResNet native'):
            last = f'{name} channels_last'
            config = configs[name]
            variants.append(_variant(last, config, x, training, torch.channels_last))
    return variants


def _pooling(args: argparse.Namespace) -> list[Variant]:
    """Pooling tails alone, whose ratio to the step of the encoder is their share."""
    side = args.size // 16
    tails = {
        v.name: v
        for v in pooling_variants(
            (args.batch, 256, side, side),
            device=args.device,
            targets=SHARES if (args.depth, args.size) == (50, 224) else {},
        )
    }
    for name in SHARES:
        tails[name].name = f'{name} of 256 alone'
        tails[name].baseline = 'GCPResNet native'
    return [tails[name] for name in SHARES]


def _variant(
    name: str, config: dict, x: torch.Tensor, training: bool, layout
) -> Variant:
    torch.manual_seed(0)
    model = MODELS.build(config).to(x.device, memory_format=layout)
    # mmpretrain's train() returns None: no chaining.
    model.train(training)
    x = x.to(memory_format=layout)
    step = _train(model, x) if training else _infer(model, x)
    return Variant(name, step, 'framework', items=len(x))


def _infer(model, x):
    def step():
        with torch.no_grad():
            model(x)

    return step


def _train(model, x):
    def step():
        model.zero_grad(set_to_none=True)
        model(x)[-1].mean().backward()

    return step
