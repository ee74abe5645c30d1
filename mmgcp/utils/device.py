"""Which devices and processors a command computes on."""

import os

from .errors import UserError


def pick_device(name: str | None = None) -> str:
    """The device asked for if this machine has it, or the best there is."""
    import torch

    if name is None:
        return 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f'--device {name}: use cpu, cuda or cuda:0') from error
    if device.type == 'cuda':
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            there = f'{count} GPUs (cuda:0 to cuda:{count - 1})' if count else 'no GPU'
            raise UserError(
                f'--device {name}: torch {torch.__version__} sees {there} on this '
                'machine. Use --device cpu, or check the driver with nvidia-smi'
            )
    return name


def visible_devices() -> list[str]:
    """Accelerators this process may use, as CUDA names them."""
    import torch

    count = torch.cuda.device_count()
    chosen = os.environ.get('CUDA_VISIBLE_DEVICES')
    return chosen.split(',')[:count] if chosen else list(map(str, range(count)))


def usable_cpus() -> int:
    """Processors this process may use."""
    linux = hasattr(os, 'sched_getaffinity')
    return len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1
