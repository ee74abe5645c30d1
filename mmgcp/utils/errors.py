"""The base class of errors whose message is all that the user needs."""

from collections.abc import Iterator


class UserError(Exception):
    """Something outside the code is wrong.

    The message names the file, the key or option, the value found, and the way
    out. The command lines print it without a traceback.
    """


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, the one that caused it, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
