"""Models for other programs: ONNX files, and checkpoints to give away."""

from mmgcp.utils.errors import UserError


class ExportError(UserError):
    """A model cannot be exported, or the exported one answers differently."""
