"""What can go wrong when a model leaves the package."""

from mmgcp.utils.errors import UserError


class ExportError(UserError):
    """A model cannot be exported, or the exported one answers differently."""
