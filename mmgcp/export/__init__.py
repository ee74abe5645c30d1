"""Models for other programs: ONNX files, and checkpoints to give away."""

from .errors import ExportError
from .onnx_export import PARTS, Export, export_onnx
from .publish import Published, publish_checkpoint

__all__ = [
    'PARTS',
    'Export',
    'ExportError',
    'Published',
    'export_onnx',
    'publish_checkpoint',
]
