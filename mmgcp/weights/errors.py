"""What can be wrong with a checkpoint."""

from collections.abc import Iterable

from ..utils.errors import UserError


class CheckpointError(UserError, RuntimeError):
    """A checkpoint cannot be read, recognized or used."""


class UntrustedCheckpointError(CheckpointError):
    """A checkpoint holds Python objects that neither weights nor training need."""


class KeyMismatchError(CheckpointError):
    """Names or shapes of tensors differ from those of the model."""


def first_names(names: Iterable[str], limit: int = 8) -> str:
    """Join names for a message: the first ones in full, the rest as a count."""
    names = list(names)
    shown = ', '.join(names[:limit])
    return f'{shown} and {len(names) - limit} more' if len(names) > limit else shown
