#!/usr/bin/env python
"""Verify a COCO, ADE20K or ImageNet folder: counts, broken images, annotations."""

import os

from mmgcp.utils.cli import ArgumentParser, run_main


def main(argv=None) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from mmgcp.datasets import verifying

    verify = {
        'coco': verifying.verify_coco,
        'ade20k': verifying.verify_ade20k,
        'imagenet': verifying.verify_imagenet,
    }
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('dataset', choices=sorted(verify))
    parser.add_argument('root', help='its folder, such as data/coco')
    parser.add_argument('--splits', nargs='+', help='only these, such as val2017')
    parser.add_argument('--fast', action='store_true', help='do not decode images')
    parser.add_argument('--workers', type=int, default=os.cpu_count(), help='threads')
    parser.add_argument('--show', type=int, default=20, help='errors to print')
    parser.add_argument(
        '--any-size', action='store_true', help='not the published data set: any counts'
    )
    args = parser.parse_args(argv)
    options = dict(splits=args.splits) if args.splits else {}
    with Progress(console=Console(stderr=True)) as bar:
        findings = verify[args.dataset](
            args.root,
            decode=not args.fast,
            workers=args.workers,
            progress=lambda items, total, what: bar.track(
                items, total, description=what
            ),
            published=not args.any_size,
            **options,
        )
    for note in findings.notes[: args.show]:
        print(f'note: {note}')
    for error in findings.errors[: args.show]:
        print(f'error: {error}')
    print(
        f'{args.root}: {findings.looked_at} files and annotations looked at, '
        f'{len(findings.errors)} errors, {len(findings.notes)} notes'
    )
    return 1 if findings.errors else 0


if __name__ == '__main__':
    run_main(main)
