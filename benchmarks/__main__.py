"""Measure speed and memory, always against something in the same process."""

import argparse
import itertools
import shlex
import sys
from collections.abc import Iterator, Sequence

import torch

from mmgcp.utils.cli import ArgumentParser, run_main
from mmgcp.utils.device import pick_device
from mmgcp.utils.files import write_json

from .report import gpu_state, machine, table
from .timing import Variant, measure, most_expensive

HEADS = [
    f'configs/pretrain/resnet18-w8-{n}_scenes.py' for n in ('gap', 'isqrt', 'dropcov')
]
TASKS = [
    'configs/detection/faster-rcnn_r18-w8_fpn_scenes.py',
    'configs/segmentation/upernet_r18-w8_scenes.py',
]
STAGES = ['stride', 'maxpool', 'native']
PRECISIONS = ['fp32', 'tf32', 'bf16']


def parser() -> argparse.ArgumentParser:
    """The options of every kind of measurement."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument('--rounds', type=int, default=15, help='rounds that count')
    common.add_argument('--warmup', type=int, default=3, help='rounds that do not')
    common.add_argument('--threads', type=int, default=2, help='CPU threads of torch')
    common.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
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
    one.add_argument('--compile', action='store_true', help='add compiled variants')
    one.add_argument('--graph', action='store_true', help='add CUDA graphs')
    one.add_argument(
        '--precision',
        nargs='+',
        choices=PRECISIONS,
        default=['fp32'],
        help='of products',
    )
    one.add_argument(
        '--roofline',
        action='store_true',
        help='add costs and the distance to the floor',
    )

    one = add('encoders', 'ResNet per last stage, inference and training')
    one.add_argument('--depth', type=int, default=50)
    one.add_argument('--batch', type=int, default=4)
    one.add_argument('--size', type=int, default=224)
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
        from .pooling import LARGE, SHAPES, STEPS, pooling_variants

        large = [] if args.device == 'cpu' else LARGE
        for shape, kind in itertools.product(
            args.shape or SHAPES + large, args.precision
        ):
            torch.backends.cuda.matmul.allow_tf32 = kind == 'tf32'
            dtype = torch.bfloat16 if kind == 'bf16' else torch.float32
            how = (args.device, dtype, args.compile, args.graph)
            title = f'pooling {tuple(shape)}, {STEPS} steps'
            yield (
                title if kind == 'fp32' else f'{title}, {kind}',
                pooling_variants(tuple(shape), *how),
            )
        return
    if args.kind == 'encoders':
        from .encoders import encoder_variants

        x = torch.randn(args.batch, 3, args.size, args.size, device=args.device)
        for name in ('inference', 'training'):
            yield (
                f'ResNet-{args.depth}, {name}, {tuple(x.shape)}, mmpretrain',
                encoder_variants(x, args.depth, name == 'training', args.also),
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


def _add_costs(
    rows: list[dict], variants: list[Variant], device: str, half: bool
) -> None:
    from .roofline import roofline

    dtype = torch.bfloat16 if half else torch.float32
    steps = {variant.name: variant.step for variant in variants}
    for row in rows:
        name = row['name'].removesuffix(' compiled').removesuffix(' graph')
        run, time = steps[row['name']], row['milliseconds']
        row.update(roofline(steps[name], run, time, device, dtype))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, save."""
    top = parser()
    args = top.parse_args(argv)
    if args.rounds < 1 or args.warmup < 0:
        top.error('--rounds must be at least 1 and --warmup at least 0')
    args.device = pick_device(args.device)
    torch.set_num_threads(args.threads)
    if args.device == 'cpu' and (
        getattr(args, 'graph', False) or 'tf32' in getattr(args, 'precision', ())
    ):
        top.error('--graph and --precision tf32 need --device cuda')
    info = machine(args.device)
    print(' | '.join(f'{name}: {value}' for name, value in info.items()))
    tables = []
    for title, variants in groups(args):
        rows = measure(
            variants, args.rounds, args.warmup, args.device, not args.no_memory
        )
        if getattr(args, 'roofline', False):
            _add_costs(rows, variants, args.device, title.endswith('bf16'))
        tables.append({'title': title, 'rows': rows})
        print(f'\n{title}\n{table(rows)}', flush=True)
        if args.kind == 'throughput':
            from .steps import largest_share

            print(largest_share(rows), flush=True)
        for variant in variants if args.profile else []:
            costs = most_expensive(variant.step, args.profile)
            print(f'\n{variant.name}\n{costs}', flush=True)
    if args.device == 'cuda':
        info['state at the end'] = gpu_state()
        print(f'\nat the end: {info["state at the end"]}')
    if args.json:
        command = shlex.join(['python', '-m', 'benchmarks', *(argv or sys.argv[1:])])
        report = {'command': command, 'machine': info, 'groups': tables}
        write_json(args.json, report)


if __name__ == '__main__':
    run_main(main)
