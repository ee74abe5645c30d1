#!/usr/bin/env python
"""Predict a picture, a folder of pictures or a video, and draw what is found.

Several models (CONFIG CHECKPOINT CONFIG CHECKPOINT) are drawn side by side.
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
    parser.add_argument('input', help='picture, folder or video')
    parser.add_argument(
        'models', nargs='+', metavar='CONFIG CHECKPOINT', help='one model or several'
    )
    parser.add_argument('--out', default='predictions', help='folder of the results')
    parser.add_argument('--labels', nargs='+', help='title of each model')
    parser.add_argument(
        '--score-thr', type=float, default=0.3, help='least score of an object'
    )
    parser.add_argument(
        '--with-input', action='store_true', help='put the picture itself in front'
    )
    add_trust_option(parser)
    add_device_option(parser)
    add_cfg_options(parser)
    args = parser.parse_args(argv)

    from mmgcp.utils.device import pick_device
    from mmgcp.utils.run_specs import run_specs
    from mmgcp.visualization.files import MediaError
    from mmgcp.visualization.predict import predict

    written, failed = predict(
        args.input,
        run_specs(args.models, args.labels),
        args.out,
        device=pick_device(args.device),
        threshold=args.score_thr,
        with_input=args.with_input,
        options=args.cfg_options,
        trust=args.trust,
    )
    for path in written:
        print(path)
    if failed:
        message = f'{len(failed)} of {len(written) + len(failed)} pictures failed'
        raise MediaError('\n'.join([message, *failed]))


if __name__ == '__main__':
    run_main(main)
