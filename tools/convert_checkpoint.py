"""Convert a published checkpoint to the names of this package.

python tools/convert_checkpoint.py SRC DST --to encoder
"""

import argparse
import sys

from mmgcp.weights import CheckpointError, convert_checkpoint
from mmgcp.weights.convert import TARGETS
from mmgcp.weights.layouts import LAYOUTS
from mmgcp.weights.reading import MAX_BYTES


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='layouts:\n'
        + '\n'.join(f'  {x.name:24}{x.description}' for x in LAYOUTS.values()),
    )
    parser.add_argument('src', help='checkpoint; it is never changed')
    parser.add_argument('dst', help='file to write')
    parser.add_argument('--to', choices=TARGETS, default='encoder')
    parser.add_argument(
        '--layout', choices=list(LAYOUTS), help='default: recognised from the names'
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
        help='put eight digits of the sha256 of the tensors into the name',
    )
    parser.add_argument(
        '--max-size',
        type=float,
        default=MAX_BYTES / 1024**3,
        metavar='GIB',
        help='refuse files that are, or unpack to, more (default: %(default)g)',
    )
    parser.add_argument('--verbose', action='store_true', help='print every name')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    try:
        result = convert_checkpoint(
            args.src,
            args.dst,
            to=args.to,
            layout=args.layout,
            ema=args.ema,
            trust=args.trust,
            hash_name=args.hash_name,
            max_bytes=int(args.max_size * 1024**3),
        )
    except (CheckpointError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(result.report.text(args.verbose))
    for key, value in result.meta.items():
        if key != 'tensors_sha256':
            print(f'{key:24}{value}')
    print(result.path)
    return 0


if __name__ == '__main__':
    sys.exit(main())
