"""Report of the environment: ``python -m mmgcp.utils.collect_env``."""

import importlib
import platform
import sys

import torch

from mmgcp.utils.stack import MODULES, check_stack, providers
from mmgcp.version import __version__


def operators_state() -> str:
    """Whether mmcv was built with its compiled operators, in words."""
    try:
        importlib.import_module('mmcv')
    except ImportError:
        return 'mmcv not installed'
    try:
        extension = importlib.import_module('mmcv._ext')
    except ImportError as error:
        return f'none: rebuild mmcv after torch with MMCV_WITH_OPS=1 ({error})'
    get_compiler = getattr(extension, 'get_compiling_cuda_version', None)
    return f'compiled, CUDA {get_compiler()}' if get_compiler else 'compiled'


def collect_env() -> dict[str, str]:
    """Versions and origins, in the order they are worth reading."""
    report = {
        'mmgcp': __version__,
        'Python': sys.version.split()[0],
        'Platform': platform.platform(),
        'torch': torch.__version__,
        'CUDA of torch': torch.version.cuda or 'none',
        'CUDA devices': ', '.join(
            torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())
        )
        or 'none',
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
    report['mmcv operators'] = operators_state()
    return report


def main() -> None:
    check_stack()
    report = collect_env()
    width = max(map(len, report))
    for name, value in report.items():
        print(f'{name:<{width}}  {value}')


if __name__ == '__main__':
    main()
