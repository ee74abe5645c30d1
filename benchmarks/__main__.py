"""Measure speed and memory, always against something in the same process."""

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence

import torch

from mmgcp.utils.cli import ArgumentParser, run_main
from mmgcp.utils.device import pick_device
from mmgcp.utils.files import write_json

from .report import machine, table
from .timing import Variant, measure, most_expensive

HEADS = [
    f'configs/pretrain/resnet18-w8-{n}_scenes.py' for n in ('gap', 'isqrt', 'dropcov')
]
TASKS = [
    'configs/detection/faster-rcnn_r18-w8_fpn_scenes.py',
    'configs/segmentation/upernet_r18-w8_scenes.py',
]
STAGES = ['stride', 'maxpool', 'native']


def parser() -> argparse.ArgumentParser:
    """The options of every kind of measurement."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument('--rounds', type=int, default=15, help='rounds that count')
    common.add_argument('--warmup', type=int, default=3, help='rounds that do not')
    common.add_argument('--threads', type=int, default=2, help='CPU threads of torch')
    common.add_argument('--device', help='cpu, the default, or cuda', default='cpu')
    common.add_argument('--no-memory', action='store_true', help='skip peak memory')
    common.add_argument('--json', metavar='FILE', help='write everything measured')
    common.add_argument(
        '--profile', type=int, metavar='N', help='list the N most expensive operators'
    )
    top: argparse.ArgumentParser = ArgumentParser(
        prog='python -m benchmarks', description=__doc__
    )
    kinds = top.add_subparsers(dest='kind', required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return kinds.add_parser(name, help=text, description=text, parents=[common])

    one = add('pooling', 'pooling layers, forward and backward')
    one.add_argument(
        '--shape',
        type=int,
        nargs=4,
        action='append',
        metavar=('B', 'C', 'H', 'W'),
        help='may be given several times; otherwise the shapes of docs/performance.md',
    )
    one.add_argument('--iterations', type=int, default=5, help='Newton-Schulz steps')
    one.add_argument('--compile', action='store_true', help='add compiled variants')
    one.add_argument('--tf32', action='store_true', help='allow TF32 on a GPU')

    one = add('encoders', 'ResNet per last stage, inference and training')
    one.add_argument('--depth', type=int, default=50)
    one.add_argument('--batch', type=int, default=4)
    one.add_argument('--size', type=int, default=224)
    one.add_argument('--scope', default='mmpretrain', help='framework of the baseline')
    one.add_argument(
        '--also',
        nargs='+',
        choices=('channels_last', 'compile', 'fused', 'onednn'),
        default=[],
        help='add the same encoders run in these ways',
    )
    for name, text, configs in [
        ('pretrain-step', 'one training step per classification config', HEADS),
        ('transfer-step', 'one training step per form of the last stage', TASKS),
        ('prediction', 'prediction of one batch per config', HEADS + TASKS),
        ('throughput', 'data loading alone, step alone and both', HEADS + TASKS),
    ]:
        one = add(name, text)
        one.add_argument('--config', nargs='+', default=configs, metavar='FILE')
        one.add_argument(
            '--batch', type=int, help='images per step; that of the config'
        )
        if name != 'throughput':
            one.add_argument('--size', type=int, help='image side')
        if name == 'transfer-step':
            one.add_argument('--last-stage', nargs='+', choices=STAGES, default=STAGES)
    return top


def groups(args: argparse.Namespace) -> Iterator[tuple[str, list[Variant]]]:
    """Title and variants of each table."""
    if args.kind == 'pooling':
        from .pooling import SHAPES, pooling_variants

        for shape in args.shape or SHAPES:
            yield (
                f'pooling {tuple(shape)}, {args.iterations} steps',
                pooling_variants(shape, args.iterations, args.device, args.compile),
            )
        return
    if args.kind == 'encoders':
        from .encoders import encoder_variants

        x = torch.randn(args.batch, 3, args.size, args.size, device=args.device)
        for name in ('inference', 'training'):
            yield (
                f'ResNet-{args.depth}, {name}, {tuple(x.shape)}, {args.scope}',
                encoder_variants(
                    x, args.depth, args.scope, name == 'training', args.also
                ),
            )
        return
    from .steps import Steps

    size = getattr(args, 'size', None)
    configs = [Steps(path, args.device, args.batch, size) for path in args.config]
    first = configs[0].name
    if args.kind == 'pretrain-step':
        # Heads of one recipe: all against the first.
        variants = [v for c in configs for v in c.train_with_pooling(first)]
        yield 'pre-training step', variants
        return
    if args.kind == 'prediction':
        for scope in dict.fromkeys(config.scope for config in configs):
            same = [config for config in configs if config.scope == scope]
            yield f'prediction, {scope}', [c.predict(same[0].name) for c in same]
        return
    for config in configs:
        if args.kind == 'transfer-step':
            variants = config.last_stages(args.last_stage)
        else:
            variants = config.with_loading()
        yield f'{args.kind}, {config.name}', variants


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, save."""
    top = parser()
    args = top.parse_args(argv)
    if args.rounds < 1 or args.warmup < 0:
        top.error('--rounds must be at least 1 and --warmup at least 0')
    args.device = pick_device(args.device)
    torch.set_num_threads(args.threads)
    if getattr(args, 'tf32', False):
        torch.backends.cuda.matmul.allow_tf32 = True
    info = machine(args.device)
    print(' | '.join(f'{name}: {value}' for name, value in info.items()))
    tables = []
    for title, variants in groups(args):
        rows = measure(
            variants, args.rounds, args.warmup, args.device, not args.no_memory
        )
        tables.append({'title': title, 'rows': rows})
        print(f'\n{title}\n{table(rows)}', flush=True)
        for variant in variants if args.profile else []:
            costs = most_expensive(variant.step, args.profile)
            print(f'\n{variant.name}\n{costs}', flush=True)
    if args.json:
        command = shlex.join(['python', '-m', 'benchmarks', *(argv or sys.argv[1:])])
        report = {'command': command, 'machine': info, 'groups': tables}
        write_json(args.json, report)


if __name__ == '__main__':
    run_main(main)
