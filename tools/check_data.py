#!/usr/bin/env python
"""Look into every file of COCO, ADE20K, ImageNet or your own data."""

import os

from mmgcp.utils.cli import ArgumentParser, run_main


def main(argv=None) -> int:
    from mmgcp.datasets.checking import DataError
    from mmgcp.datasets.verifying import PUBLISHED, check_own_data, verify
    from mmgcp.utils.files import read_json, write_json

    parser = ArgumentParser(description=__doc__)
    parser.add_argument('dataset', choices=[*sorted(PUBLISHED), 'own'])
    parser.add_argument(
        'root',
        help='its folder, such as data/coco; for own data a JSON file of what '
        "a study's own_data holds",
    )
    parser.add_argument('--splits', nargs='+', help='only these, such as val2017')
    parser.add_argument('--fast', action='store_true', help='do not decode images')
    parser.add_argument('--workers', type=int, default=os.cpu_count(), help='threads')
    parser.add_argument('--show', type=int, default=20, help='errors to print')
    parser.add_argument(
        '--any-size', action='store_true', help='not the published data set: any counts'
    )
    parser.add_argument('--out', help='JSON file for everything that was found')
    parser.add_argument(
        '--allow-faults', action='store_true', help='succeed in spite of errors'
    )
    args = parser.parse_args(argv)
    if args.workers < 1:
        raise DataError(f'--workers {args.workers}: at least 1')
    options = dict(decode=not args.fast, workers=args.workers)
    if args.dataset == 'own':
        found = check_own_data(read_json(args.root), **options)
    else:
        published = not args.any_size
        one = verify(args.dataset, args.root, args.splits, published, **options)
        found = {args.dataset: one}
    if args.out:
        keys = ('errors', 'notes', 'counts')
        content = {
            part: {key: getattr(of, key) for key in keys} for part, of in found.items()
        }
        write_json(args.out, content)
    for part, of in found.items():
        for kind, lines in (('note', of.notes), ('error', of.errors)):
            for line in lines[: args.show]:
                print(f'{kind}: {line}')
        images = sum(split['images'] for split in of.counts.values())
        summary = f'{len(of.errors)} errors, {len(of.notes)} notes'
        print(f'{part}: {images} images looked at, {summary}')
    errors = [line for of in found.values() for line in of.errors]
    if errors and not args.allow_faults:
        more = f'; all of them are in {args.out}' if args.out else ''
        raise DataError(f'{len(errors)} errors in the data{more}. First: {errors[0]}')
    return 0


if __name__ == '__main__':
    run_main(main)
