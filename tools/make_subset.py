#!/usr/bin/env python
"""Write subsets of the training images of COCO or ADE20K."""

from pathlib import Path

from mmgcp.utils.cli import ArgumentParser, run_main


def main(argv=None) -> None:
    from mmgcp.datasets.subsets import subset_ade20k, subset_coco

    parser = ArgumentParser(description=__doc__)
    parser.add_argument('dataset', choices=['coco', 'ade20k'])
    parser.add_argument('root', help='data/coco, or data/ade/ADEChallengeData2016')
    parser.add_argument('--percent', type=float, nargs='+', default=[1, 10])
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args(argv)
    for percent in args.percent:
        if args.dataset == 'coco':
            source = Path(args.root, 'annotations', 'instances_train2017.json')
            path, size = subset_coco(source, percent, args.seed)
        else:
            path, size = subset_ade20k(args.root, percent, args.seed)
        print(f'{path}: {size} images')


if __name__ == '__main__':
    run_main(main)
