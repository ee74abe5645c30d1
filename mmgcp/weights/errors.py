"""What can go wrong with a file of weights, as exceptions that say so."""

from ..utils.errors import UserError


class CheckpointError(UserError, RuntimeError):
    """A checkpoint cannot be read, recognised or used."""


class UntrustedCheckpointError(CheckpointError):
    """A pickle asks for Python objects that weights do not need."""


class KeyMismatchError(CheckpointError):
    """Names or shapes of tensors differ from those of the model."""


def first_names(names, limit: int = 8) -> str:
    """Join names for a message, the first ones in full and the rest as a count."""
    names = list(names)
    shown = ', '.join(names[:limit])
    return f'{shown} and {len(names) - limit} more' if len(names) > limit else shown
