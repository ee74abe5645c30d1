#!/usr/bin/env python
"""Strip a checkpoint of its training state and name it by the sha256 of the file."""

from mmgcp.utils.cli import ArgumentParser, run_main


def main(argv=None) -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('src', help='checkpoint of a training run; it is never changed')
    parser.add_argument(
        'dst', nargs='?', help='NAME.pth gives NAME-<8 digits>.pth; beside SRC'
    )
    parser.add_argument(
        '--trust',
        action='store_true',
        help='build any Python object in the file, which can run any code',
    )
    args = parser.parse_args(argv)

    from mmgcp.export.publish import publish_checkpoint

    done = publish_checkpoint(args.src, args.dst, args.trust)
    print(f'{done.path}')
    print(f'sha256   {done.sha256}')
    print(f'tensors  {done.tensors}')
    print(f'dropped  {", ".join(done.dropped) or "nothing"}')


if __name__ == '__main__':
    run_main(main)
