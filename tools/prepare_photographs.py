#!/usr/bin/env python
"""Unpack CIFAR-10, BCCD and CamVid for the study on photographs, and look into them."""

from pathlib import Path

from mmgcp.utils.cli import ArgumentParser, run_main


def main(argv=None) -> None:
    from mmgcp.datasets.checking import DataError
    from mmgcp.datasets.photographs import LAYOUTS, prepare_photographs

    parser = ArgumentParser(description=__doc__)
    for name in LAYOUTS:
        parser.add_argument(f'--{name}', type=Path, metavar='ARCHIVE')
    parser.add_argument('--out', type=Path, default=Path('data/photographs'))
    args = vars(parser.parse_args(argv))
    archives = {name: args[name] for name in LAYOUTS if args[name] is not None}
    if not archives:
        raise DataError('give an archive: --cifar10, --bccd or --camvid')
    for name, found in prepare_photographs(archives, args['out']).items():
        images = {split: count['images'] for split, count in found.counts.items()}
        print(f'{name}: {images} images')
        for kind, lines in (('note', found.notes), ('fault', found.errors)):
            for line in lines:
                print(f'  {kind}: {line}')


if __name__ == '__main__':
    run_main(main)
