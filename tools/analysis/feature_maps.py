#!/usr/bin/env python
"""Show the feature maps of each level of an encoder, and where a decision is made.

Writes feature_maps.png and feature_maps.json. Works with classifiers, detectors and
segmentors; several models are shown below each other.
"""

from mmgcp.utils.cli import (
    ArgumentParser,
    add_cfg_options,
    add_device_option,
    add_trust_option,
    run_main,
)


def main(argv=None) -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument(
        'models', nargs='+', metavar='CONFIG CHECKPOINT', help='one model or several'
    )
    parser.add_argument('--image', required=True, help='the picture')
    parser.add_argument('--out', required=True, help='folder of the results')
    parser.add_argument('--labels', nargs='+', help='title of each model')
    group = parser.add_mutually_exclusive_group()
    group.add_argument('--channels', nargs='+', type=int, help='these channels')
    group.add_argument(
        '--top', type=int, default=6, help='that many channels, by variance'
    )
    parser.add_argument(
        '--no-cam', action='store_true', help='no class-activation maps'
    )
    parser.add_argument(
        '--target', help='class of the activation map; the most certain one'
    )
    add_trust_option(parser)
    add_device_option(parser)
    add_cfg_options(parser)
    args = parser.parse_args(argv)

    from mmgcp.utils.device import pick_device
    from mmgcp.utils.run_specs import run_specs
    from mmgcp.visualization.feature_maps import feature_maps

    for path in feature_maps(
        args.image,
        run_specs(args.models, args.labels),
        args.out,
        channels=args.channels or args.top,
        cam=not args.no_cam,
        target=args.target,
        device=pick_device(args.device),
        options=args.cfg_options,
        trust=args.trust,
    ):
        print(path)


if __name__ == '__main__':
    run_main(main)
