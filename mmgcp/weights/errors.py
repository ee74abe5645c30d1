"""What can be wrong with a checkpoint."""

from ..utils.errors import UserError


class CheckpointError(UserError, RuntimeError):
    """A checkpoint cannot be read, recognized or used."""


class UntrustedCheckpointError(CheckpointError):
    """A checkpoint holds Python objects that neither weights nor training need."""


class KeyMismatchError(CheckpointError):
    """Names or shapes of tensors differ from those of the model."""
