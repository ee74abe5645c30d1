"""Report of the environment: ``python -m mmgcp.utils.collect_env``."""

import importlib
import platform
import sys

import torch

from mmgcp.version import __version__

from .stack import MODULES, check_stack, providers


def collect_env() -> dict[str, str]:
    """Versions and origins, in the order they are worth reading."""
    devices = range(torch.cuda.device_count())
    report = {
        'mmgcp': __version__,
        'Python': sys.version.split()[0],
        'Platform': platform.platform(),
        'torch': torch.__version__,
        'CUDA of torch': torch.version.cuda or 'none',
        'CUDA devices': ', '.join(map(torch.cuda.get_device_name, devices)) or 'none',
    }
    for name in ('torchvision', 'numpy', 'cv2', 'sklearn', 'matplotlib', 'submitit'):
        try:
            report[name] = importlib.import_module(name).__version__
        except ImportError:
            report[name] = 'not installed'
    for module in MODULES:
        found = [
            f'{p.version} from {p.distribution}'
            for p in providers()
            if p.module == module
        ]
        report[module] = ' AND '.join(found) or 'not installed'
    report['mmcv operators'] = 'compiled'
    try:
        importlib.import_module('mmcv._ext')
    except ImportError as error:
        hint = 'rebuild mmcv after torch with MMCV_WITH_OPS=1'
        report['mmcv operators'] = f'none: {hint} ({error})'
    return report


if __name__ == '__main__':
    check_stack()
    for name, value in collect_env().items():
        print(f'{name:<15}  {value}')
