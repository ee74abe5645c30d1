"""Command line of ``tools/benchmark.py``."""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from mmgcp.utils.cli import ArgumentParser, add_cfg_options

from .report import machine, save_json, save_plot, table
from .timing import measure

CONFIGS = {
    'pretrain-step': [
        'configs/pretrain/resnet18-w16-gap_scenes.py',
        'configs/pretrain/resnet18-w16-isqrt_scenes.py',
        'configs/pretrain/resnet18-w16-dropcov_scenes.py',
    ],
    'transfer-step': [
        'configs/detection/faster-rcnn_r18-w16_fpn_scenes.py',
        'configs/segmentation/upernet_r18-w16_scenes.py',
    ],
}
CONFIGS['evaluation'] = CONFIGS['pretrain-step'] + CONFIGS['transfer-step']
CONFIGS['throughput'] = CONFIGS['evaluation']


def _common(rounds: int, threads: int) -> argparse.ArgumentParser:
    one = argparse.ArgumentParser(add_help=False)
    one.add_argument('--rounds', type=int, default=rounds, help='rounds that count')
    one.add_argument(
        '--threads', type=int, default=threads, help='CPU threads of torch per process'
    )
    one.add_argument('--json', metavar='FILE', help='write everything measured')
    one.add_argument('--plot', metavar='FILE', help='draw the ratios')
    return one


def parser() -> argparse.ArgumentParser:
    """The options of every kind of measurement."""
    timing = argparse.ArgumentParser(add_help=False)
    timing.add_argument('--warmup', type=int, default=3, help='rounds that do not')
    timing.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    timing.add_argument(
        '--only', nargs='+', metavar='NAME', help='these variants and their baselines'
    )
    timing.add_argument('--no-memory', action='store_true', help='skip peak memory')
    common = [_common(rounds=15, threads=2), timing]
    top: argparse.ArgumentParser = ArgumentParser(
        prog='tools/benchmark.py', description=__doc__
    )
    kinds = top.add_subparsers(dest='kind', required=True)

    def add(
        name: str, text: str, parents: list[argparse.ArgumentParser] = common
    ) -> argparse.ArgumentParser:
        return kinds.add_parser(
            name,
            help=text,
            description=text,
            parents=parents,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )

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
    one.add_argument('--channels-last', action='store_true')
    one.add_argument('--dtype', choices=('float32', 'bfloat16'), default='float32')
    one.add_argument('--tf32', action='store_true', help='allow TF32 on a GPU')

    one = add('encoders', 'ResNet per last stage, training and inference')
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

    texts = {
        'pretrain-step': 'one training step per classification config',
        'transfer-step': 'one training step per detection or segmentation config',
        'evaluation': 'prediction per config',
        'throughput': 'data loading alone, step alone and both, per config',
    }
    for name, text in texts.items():
        one = add(name, text)
        one.add_argument('--config', nargs='+', default=CONFIGS[name], metavar='FILE')
        one.add_argument(
            '--batch', type=int, help='images per step; that of the config'
        )
        if name != 'throughput':
            one.add_argument('--size', type=int, default=None, help='image side')
        if name == 'transfer-step':
            one.add_argument(
                '--last-stage',
                nargs='+',
                choices=('stride', 'maxpool', 'native'),
                default=['stride', 'maxpool', 'native'],
            )
        if name != 'evaluation':
            what = 'transforms' if name == 'throughput' else 'operators'
            text = f'list the N most expensive {what}'
            one.add_argument('--profile', type=int, default=0, metavar='N', help=text)
    add('startup', 'importing the package in a fresh interpreter')
    text = 'whole evaluation per number of processes, and where its time goes'
    one = add('testing', text, [_common(rounds=3, threads=1)])
    one.add_argument('runs', nargs='+', metavar='CONFIG CHECKPOINT', help='pairs')
    one.add_argument(
        '--processes',
        type=int,
        nargs='+',
        default=[1, 2],
        help='the first is the baseline',
    )
    add_cfg_options(one)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    one.set_defaults(warmup=0, device=device, only=None)
    return top


def _progress(title: str) -> Callable[[int, int], None]:
    start = time.monotonic()

    def show(done: int, total: int) -> None:
        if not sys.stderr.isatty():
            return
        left = (time.monotonic() - start) / done * (total - done)
        end = '\n' if done == total else ''
        print(
            f'\r{title}: round {done}/{total}, {left:.0f} s left ',
            end=end,
            file=sys.stderr,
        )

    return show


def _groups(args: argparse.Namespace):
    if args.kind == 'pooling':
        from .pooling import SHAPES, pooling_variants

        for shape in args.shape or SHAPES:
            title = f'pooling {tuple(shape)}, {args.iterations} steps'
            yield (
                title,
                pooling_variants(
                    tuple(shape),
                    args.iterations,
                    args.device,
                    args.compile,
                    args.channels_last,
                    getattr(torch, args.dtype),
                ),
            )
    elif args.kind == 'encoders':
        from .encoders import encoder_groups

        yield from encoder_groups(args)
    elif args.kind == 'startup':
        from .startup import startup_variants

        yield 'imports', startup_variants()
    else:
        from .steps import config_groups

        yield from config_groups(args)


def _selected(variants: list, names: list[str] | None) -> list:
    if not names:
        return variants
    wanted = {v.name for v in variants if v.name in names}
    # A baseline may have a baseline of its own.
    for _ in variants:
        wanted |= {v.baseline for v in variants if v.name in wanted}
    return [v for v in variants if v.name in wanted]


def _measured(args: argparse.Namespace) -> Iterator[tuple[str, list[dict], list[str]]]:
    if args.kind == 'testing':
        from .testing import testing_groups

        yield from testing_groups(args, _progress)
        return
    for title, variants in _groups(args):
        variants = _selected(variants, args.only)
        if not variants:
            continue
        rows = measure(
            variants,
            args.rounds,
            args.warmup,
            args.device,
            memory=not args.no_memory and args.kind != 'startup',
            progress=_progress(title),
        )
        remarks = []
        if args.kind == 'encoders':
            from .encoders import rate_remarks

            remarks = rate_remarks(variants, rows, args.device)
        yield title, rows, remarks
        if getattr(args, 'profile', 0):
            from .profile import costs, transform_costs

            for variant in variants:
                if args.kind != 'throughput':
                    print(f'\n{variant.name}\n{costs(variant.step, args.profile)}')
                elif variant.dataset is not None:
                    print(f'\n{transform_costs(variant.dataset, args.profile)}')


def main(argv: list[str] | None = None) -> int:
    """Measure, print, save."""
    top = parser()
    args = top.parse_args(argv)
    if args.rounds < 1 or args.warmup < 0:
        top.error('--rounds must be at least 1 and --warmup at least 0')
    if args.device == 'cuda' and not torch.cuda.is_available():
        top.error('--device cuda: torch sees no GPU here')
    torch.set_num_threads(args.threads)
    if getattr(args, 'tf32', False):
        torch.backends.cuda.matmul.allow_tf32 = True
    report: dict[str, Any] = {
        'command': shlex.join(['tools/benchmark.py', *(argv or sys.argv[1:])]),
        'machine': machine(args.device),
        'groups': [],
    }
    print(' | '.join(f'{k}: {v}' for k, v in report['machine'].items()))
    for title, rows, remarks in _measured(args):
        group = {'title': title, 'rows': rows}
        report['groups'].append({**group, 'remarks': remarks} if remarks else group)
        print('\n'.join(['', title, table(rows), *remarks]), flush=True)
    if not report['groups']:
        top.error(f'--only {" ".join(args.only)}: no variant has such a name')
    if args.json:
        save_json(args.json, report)
    if args.plot:
        save_plot(args.plot, report)
    return 0
