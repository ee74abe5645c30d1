#!/usr/bin/env python
"""Convert a published checkpoint to the names of this package.

Prints what became of every tensor; anything missing or left over is an error.
The last line of the output is the path of the file.
"""

from mmgcp.utils.cli import ArgumentParser, run_main


def main(argv=None) -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('src', help='checkpoint; it is never changed')
    parser.add_argument('dst', help='file to write')
    parser.add_argument(
        '--to',
        choices=('encoder', 'classifier', 'detector'),
        default='encoder',
        help='encoder: for mmgcp.PretrainedEncoder; classifier: a model of mmpretrain, '
        'for tools/test.py; detector: a model of mmdet 3.x',
    )
    parser.add_argument(
        '--ema', action='store_true', help='take the averaged weights of a timm file'
    )
    parser.add_argument(
        '--trust',
        action='store_true',
        help='build any Python object in the file, which can run any code: only for '
        'files of people you trust',
    )
    parser.add_argument(
        '--hash-name',
        action='store_true',
        help='put eight digits of the sha256 of the new file into its name',
    )
    parser.add_argument('--verbose', action='store_true', help='print every name')
    args = parser.parse_args(argv)

    from mmgcp.weights.convert import convert_checkpoint

    result = convert_checkpoint(
        args.src,
        args.dst,
        to=args.to,
        ema=args.ema,
        trust=args.trust,
        hash_name=args.hash_name,
    )
    print(result.text(args.verbose))
    print(result.path)


if __name__ == '__main__':
    run_main(main)
