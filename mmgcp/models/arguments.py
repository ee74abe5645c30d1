"""What the registered modules say about wrong and renamed arguments."""

import warnings

from mmgcp.utils.errors import UserError


class ConfigValueError(UserError, ValueError):
    """An argument of a registered module has a value that cannot work."""


def renamed(official: bool | None, match_released_code: bool) -> bool:
    """The value of ``match_released_code``, which was called ``official``."""
    if official is None:
        return match_released_code
    warnings.warn(
        f'official={official} is now called match_released_code={official}; the old '
        'name goes away in the next release',
        FutureWarning,
        stacklevel=3,
    )
    return official
