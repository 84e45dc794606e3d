"""Request ids: the caller's `X-Request-Id` where it is well-formed, else one of our own.

The id stands in the answer's header, in every log line that the request causes, and in its trace.
"""

import random
import re
from contextvars import ContextVar
from typing import Final

HEADER: Final = b"x-request-id"
CHARACTERS_MAX: Final = 64

CURRENT: Final[ContextVar[bytes | None]] = ContextVar("request_id", default=None)
"""The request that the running task works for: plain ASCII, as it stands in the header."""

# An id of 96 random bits; it is no secret, so the generator need not be one of secrets.
_random_bits: Final = random.Random().getrandbits  # noqa: S311
_BITS: Final = 96
_TO_LETTERS: Final = bytes.maketrans(b"0123456789", b"ghijklmnop")
"""Hexadecimal without digits: some of these would look like a card number in a row."""
_WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9._\-]{1,%d}" % CHARACTERS_MAX)
_COULD_BE_A_CARD: Final = re.compile(rb"\d(?:[._\-]{0,3}\d){12}")


def new_request_id() -> bytes:
    """`req_` and 24 letters from a to p."""
    return (b"req_%024x" % _random_bits(_BITS)).translate(_TO_LETTERS)


def is_well_formed(given: bytes) -> bool:
    """Whether an id that a caller sent is to be taken over.

    1 to CHARACTERS_MAX letters, digits, dots, underscores and dashes; and nothing in which thirteen
    digits follow on each other, since what looks like a card number is written nowhere.
    """
    return _WELL_FORMED.fullmatch(given) is not None and not _COULD_BE_A_CARD.search(given)


def current_request_id() -> str | None:
    """The id of the request that the running task works for."""
    request_id = CURRENT.get()
    return None if request_id is None else request_id.decode("ascii")
