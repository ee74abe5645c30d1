"""ResNet encoders: the framework's own against GCPResNet with every last stage."""

import argparse
from collections.abc import Callable, Iterator

import torch
from mmcv.cnn.utils import fuse_conv_bn
from mmengine.registry import init_default_scope
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.mkldnn import to_mkldnn

from mmgcp.registry import MODELS

from .timing import Variant, clock


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

    ``args.also`` adds the first and the one with stride 1 in the last stage, run
    in other ways.
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
        variants.append(_variant(name, config, x, training))
    for way in args.also:
        if training and way in INFERENCE_ONLY:
            continue
        for name in ('framework', 'GCPResNet native'):
            variants.append(
                _variant(f'{name} {way}', configs[name], x, training, WAYS[way])
            )
    return variants


def _variant(
    name: str,
    config: dict,
    x: torch.Tensor,
    training: bool,
    way: Callable = lambda model, x: (model, x),
) -> Variant:
    torch.manual_seed(0)
    model = MODELS.build(config).to(x.device)
    # mmpretrain's train() returns None: no chaining.
    model.train(training)
    model, x = way(model, x)
    step = _train(model, x) if training else _infer(model, x)
    return Variant(name, step, 'framework', items=len(x))


def _channels_last(model, x):
    layout = torch.channels_last
    return model.to(memory_format=layout), x.to(memory_format=layout)


def _compile(model, x):
    return torch.compile(model), x


def _fuse(model, x):
    """Batch norm folded into the convolutions before it."""
    return fuse_conv_bn(model), x


def _onednn(model, x):
    """Weights and activations stay in the blocked layouts of oneDNN."""
    return to_mkldnn(fuse_conv_bn(model)), x.to_mkldnn()


# The same function by other means.
WAYS = {
    'channels_last': _channels_last,
    'compile': _compile,
    'fused': _fuse,
    'onednn': _onednn,
}
INFERENCE_ONLY = {'fused', 'onednn'}


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


def rate_remarks(
    variants: list[Variant], rows: list[dict], device: str = 'cpu'
) -> list[str]:
    """How near the plain encoders are to the rate of a large matrix product.

    Convolutions are nearly all of their work, so the distance is what other memory
    layouts or compilers could still gain.
    """
    rate = product_rate(device)
    took = {row['name']: row['milliseconds'] / 1e3 for row in rows}
    remarks = []
    for variant in variants:
        if variant.name not in ('framework', 'GCPResNet native'):
            continue
        with FlopCounterMode(display=False) as counter:
            variant.step()
        flops = counter.get_total_flops()
        share = flops / took[variant.name] / rate
        remarks.append(
            f'{variant.name}: {flops / 1e9:.2f} GFLOP a step, {share:.0%} of the rate of '
            f'a large matrix product ({rate / 1e9:.0f} GFLOP/s)'
        )
    return remarks


def product_rate(device: str, side: int = 2048, rounds: int = 5) -> float:
    """FLOP per second of a square float32 product, the best of some rounds."""
    a = torch.randn(side, side, device=device)
    out = torch.empty_like(a)
    seconds = clock(device)
    best = min(seconds(lambda: torch.mm(a, a, out=out)) for _ in range(rounds))
    return 2 * side**3 / best
