"""Checkpoint layouts, conversion and strict loading."""

from .convert import Conversion, convert_checkpoint, export_encoder
from .errors import CheckpointError, KeyMismatchError, UntrustedCheckpointError
from .files import file_sha256, tensors_sha256
from .preprocessor import check_preprocessor
from .pretrained_encoder import PretrainedEncoder
from .reading import read_checkpoint
from .torch_default import TorchDefault

__all__ = [
    'CheckpointError',
    'Conversion',
    'KeyMismatchError',
    'PretrainedEncoder',
    'TorchDefault',
    'UntrustedCheckpointError',
    'check_preprocessor',
    'convert_checkpoint',
    'export_encoder',
    'file_sha256',
    'read_checkpoint',
    'tensors_sha256',
]
