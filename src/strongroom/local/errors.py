"""The one error of starting things on this machine."""


class LocalError(Exception):
    """Something on this machine stands in the way of starting.

    The message is one or more lines for the person at the terminal: what is wrong, and what to
    do about it. It holds no secret.
    """
