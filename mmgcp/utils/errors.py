"""Errors whose message is all that the user needs."""


class UserError(Exception):
    """Something outside the code is wrong.

    The message names the file, the key or option, the value found, and the way
    out. The command lines print it without a traceback.
    """


class ConfigValueError(UserError, ValueError):
    """An argument of a registered module has a value that cannot work."""
