"""Errors whose message is all that the user needs."""

from collections.abc import Iterable


class UserError(Exception):
    """Something outside the code is wrong.

    The message names the file, the key or option, the value found, and the way
    out. The command lines print it without a traceback.
    """


class ConfigValueError(UserError, ValueError):
    """An argument of a registered module has a value that cannot work."""


def first_names(names: Iterable[object], limit: int = 8) -> str:
    """Join names for a message: the first ones in full, the rest as a count."""
    texts = [str(name) for name in names]
    shown = ', '.join(texts[:limit])
    return f'{shown} and {len(texts) - limit} more' if len(texts) > limit else shown
