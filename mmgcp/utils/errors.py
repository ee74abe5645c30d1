"""The base class of errors whose message is all that the user needs."""


class UserError(Exception):
    """Something outside the code is wrong.

    The message names the file, the key or option, the value found, and the way
    out. The command lines print it without a traceback.
    """
