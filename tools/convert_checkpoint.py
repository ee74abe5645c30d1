#!/usr/bin/env python
"""Convert a published checkpoint to the names of this package.

Prints what became of every tensor; anything missing or left over is an error.
The last line of the output is the path of the file.
"""

import tempfile
from pathlib import Path

from mmgcp.utils.cli import (
    ArgumentParser,
    add_cfg_options,
    add_trust_option,
    run_main,
)
from mmgcp.utils.errors import UserError


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
    add_trust_option(parser)
    parser.add_argument(
        '--hash-name',
        action='store_true',
        help='put eight digits of the sha256 of the new file into its name',
    )
    parser.add_argument(
        '--recalibrate',
        type=int,
        metavar='N',
        help='estimate the batch norms of the last stage anew on N training images of '
        '--config, in the form that its backbone has there',
    )
    parser.add_argument('--config', help='backbone and images of --recalibrate')
    add_cfg_options(parser)
    parser.add_argument('--verbose', action='store_true', help='print every name')
    args = parser.parse_args(argv)

    if args.recalibrate is not None and (args.to != 'encoder' or args.config is None):
        raise UserError('--recalibrate N needs --config CONFIG and --to encoder')

    from mmgcp.weights.convert import convert_checkpoint

    options = dict(to=args.to, ema=args.ema, trust=args.trust)
    if args.recalibrate is None:
        result = convert_checkpoint(
            args.src, args.dst, hash_name=args.hash_name, **options
        )
        print(result.text(args.verbose))
        print(result.path)
        return

    from mmgcp.analysis.recalibration import recalibrate_encoder
    from mmgcp.utils.config import load_config

    config = load_config(args.config, args.cfg_options)
    with tempfile.TemporaryDirectory() as folder:
        converted = Path(folder) / 'encoder.pth'
        result = convert_checkpoint(args.src, converted, **options)
        path, sha256, said = recalibrate_encoder(
            config, converted, args.dst, args.recalibrate, hash_name=args.hash_name
        )
    print(result.text(args.verbose))
    print(f'{"recalibrated":24}{said}\n{"sha256 of the file":24}{sha256}')
    print(path)


if __name__ == '__main__':
    run_main(main)
