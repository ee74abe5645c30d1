#!/usr/bin/env python
"""Measure an encoder without fine-tuning: k-NN and logistic regression.

On the global average of its last feature map. The number of neighbors and the strength
of the regularization are chosen on the validation images. --scores judges the training
images without fitting anything to them: LogME, H-score, and LEEP for a whole classifier.
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
        'encoder',
        help='encoder file, checkpoint of a model or of torchvision, or none for '
        'random weights',
    )
    parser.add_argument(
        '--data',
        required=True,
        metavar='CONFIG',
        help='config of mmpretrain: the backbone, and training, validation and test '
        'images',
    )
    parser.add_argument('--out', metavar='FILE.json', help='also write the numbers')
    parser.add_argument(
        '--scores', action='store_true', help='also LogME, H-score and LEEP'
    )
    add_cfg_options(parser)
    add_trust_option(parser)
    add_device_option(parser)
    args = parser.parse_args(argv)

    from rich.console import Console
    from rich.table import Table

    from mmgcp.analysis.frozen import evaluate_encoder
    from mmgcp.utils.config import load_config
    from mmgcp.utils.files import write_json

    config = load_config(args.data, args.cfg_options)
    options = args.device, args.trust, args.scores
    found = evaluate_encoder(config, args.encoder, *options)
    if args.out:
        write_json(args.out, found)
    table = Table('protocol', 'top-1 on test (%)', 'chosen on val', box=None)
    neighbors = f'{found["knn/neighbors"]} neighbors'
    table.add_row('k-NN', f'{found["knn/accuracy"]:.2f}', neighbors)
    strength = f'C = {found["logistic/strength"]:.2g}'
    table.add_row('logistic', f'{found["logistic/accuracy"]:.2f}', strength)
    console = Console(soft_wrap=True)
    console.print(table)
    for name in filter(lambda name: name.startswith('scores/'), found):
        console.print(f'{name.removeprefix("scores/")} on train: {found[name]:.4g}')


if __name__ == '__main__':
    run_main(main)
