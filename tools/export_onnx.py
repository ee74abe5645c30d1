#!/usr/bin/env python
"""Write a model as ONNX once onnxruntime answers as PyTorch does.

The file takes RGB pictures (B, 3, H, W), float32 from 0 to 255; normalization is
inside. Classifiers and segmentors give logits, encoders their feature maps.
"""

from mmgcp.utils.cli import (
    ArgumentParser,
    add_cfg_options,
    add_trust_option,
    run_main,
)


def main(argv=None) -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the model')
    parser.add_argument(
        'checkpoint', help='its checkpoint; "none" exports random weights'
    )
    parser.add_argument('out', help='file to write, ending in .onnx')
    parser.add_argument(
        '--part',
        choices=('model', 'encoder', 'features'),
        default='model',
        help='all of it, the backbone, or backbone and neck',
    )
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='of the picture; the size that the config tests with',
    )
    parser.add_argument(
        '--free-size', action='store_true', help='leave height and width open'
    )
    parser.add_argument(
        '--images', help="pictures to check with; scikit-learn's two photographs"
    )
    parser.add_argument(
        '--tolerance',
        type=float,
        default=1e-3,
        help='largest difference accepted, over the largest value of the output',
    )
    add_trust_option(parser)
    add_cfg_options(parser)
    args = parser.parse_args(argv)

    from mmgcp.export.onnx_export import export_onnx

    shapes, differences = export_onnx(
        args.config,
        args.checkpoint,
        args.out,
        part=args.part,
        size=args.size,
        free_size=args.free_size,
        images=args.images,
        tolerance=args.tolerance,
        options=args.cfg_options,
        trust=args.trust,
    )
    print(args.out)
    for name, shape in shapes.items():
        print(f'  {name:12}({", ".join(["B", *map(str, shape[1:])])})')
    for name, value in differences.items():
        print(f'  differs from PyTorch on {name} by {value:.1e} of the largest value')


if __name__ == '__main__':
    run_main(main)
