#!/usr/bin/env python
"""Strip a checkpoint of its training state; name it by its sha256; write its card."""

from mmgcp.utils.cli import ArgumentParser, add_trust_option, run_main


def main(argv=None) -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('src', help='checkpoint of a training run; it is never changed')
    parser.add_argument(
        'dst',
        nargs='?',
        help='NAME.safetensors gives NAME-<8 digits>.safetensors and a model card '
        'NAME-<8 digits>.md; NAME.pth works too; beside SRC by default',
    )
    add_trust_option(parser)
    args = parser.parse_args(argv)

    from mmgcp.export.publish import publish_checkpoint

    path, report = publish_checkpoint(args.src, args.dst, args.trust)
    print(path)
    for key, value in report.items():
        print(f'{key:8} {value}')


if __name__ == '__main__':
    run_main(main)
