"""What the registered modules say about wrong and renamed arguments."""

import warnings

from mmgcp.utils.errors import UserError


class ConfigValueError(UserError, ValueError):
    """An argument of a registered module has a value that cannot work."""


def warn_renamed(old: str, new: str) -> None:
    """Say that an old name works for one release more."""
    message = f'{old} is now called {new}; the old name goes away in the next release'
    warnings.warn(message, FutureWarning, stacklevel=4)


def renamed(official: bool | None, match_released_code: bool) -> bool:
    """The value of ``match_released_code``, which was called ``official``."""
    if official is None:
        return match_released_code
    warn_renamed(f'official={official}', f'match_released_code={official}')
    return official
