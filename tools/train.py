#!/usr/bin/env python
"""Train any mmpretrain, mmdet or mmseg config; its default_scope decides which."""

import os
from pathlib import Path

from mmgcp.utils.cli import (
    ArgumentParser,
    add_cfg_options,
    add_launcher_option,
    run_main,
)

OVERRIDES = Path(__file__).resolve().parents[1] / 'configs' / '_base_' / 'overrides'


def main(argv=None) -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config')
    parser.add_argument('--work-dir', help='folder of logs and checkpoints')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='go on from this checkpoint, or from the last one in the work folder',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate to the total batch size',
    )
    parser.add_argument(
        '--override',
        nargs='+',
        default=[],
        metavar='NAME',
        help='files merged into the config: paths, or names in '
        'configs/_base_/overrides such as coco_10pct and frozen_resnet',
    )
    add_cfg_options(parser)
    add_launcher_option(parser)
    options = vars(parser.parse_args(argv))
    options.pop('debug', None)
    os.environ.setdefault('LOCAL_RANK', str(options.pop('local_rank')))

    from mmgcp.utils.overrides import override_options
    from mmgcp.engine.runner import train

    resume = options['resume']
    if resume not in (None, 'auto') and os.path.exists(resume):
        from mmgcp.weights.trained_model import check_checkpoint

        check_checkpoint(resume)
    names = options.pop('override')
    if names:
        given = options.get('cfg_options') or {}
        options['cfg_options'] = {**override_options(names, OVERRIDES), **given}
        run = '-'.join(Path(path).stem for path in [options['config'], *names])
        options['work_dir'] = options['work_dir'] or f'work_dirs/{run}'
    train(**options)


if __name__ == '__main__':
    run_main(main, on_interrupt='Go on from the last checkpoint with --resume')
