#!/usr/bin/env python
"""Generate the scenes data sets: real digits on real photographs, no download."""

from dataclasses import fields

from mmgcp.utils.cli import ArgumentParser, run_main

HELP = {
    'seed': 'decides every random choice; the same seed gives the same bytes',
    'train': 'training scenes, for each of detection and segmentation',
    'val': 'validation scenes: curves during training',
    'test': 'test scenes: final figures',
    'size': 'side of a scene in pixels',
    'crops': 'classification images of each training digit',
    'eval_crops': 'classification images of each validation and test digit',
    'crop_size': 'side of a classification image in pixels',
    'digits': 'handwritten digits of each class to use, over all splits; 0 for all',
}


def main(argv=None) -> None:
    from mmgcp.datasets.scenes import ScenesSpec, make_scenes

    parser = ArgumentParser(description=__doc__)
    parser.add_argument('out', nargs='?', default='data/scenes', help='folder to make')
    for field in fields(ScenesSpec):
        parser.add_argument(
            f'--{field.name.replace("_", "-")}',
            type=int,
            default=field.default,
            help=HELP[field.name],
        )
    args = vars(parser.parse_args(argv))
    args.pop('debug', None)
    out = args.pop('out')
    if not make_scenes(out, ScenesSpec(**args)):
        print(f'{out}: already there, every file has its hash')


if __name__ == '__main__':
    run_main(main)
