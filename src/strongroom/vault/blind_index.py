"""Blind indexes: finding a sealed value by equality, without opening any.

Beside the sealed value stands a keyed digest of its normal form, of 16 bytes; who looks for a value
asks for the rows with that digest. Digests of one legal entity and purpose are equal where the
values are, so they tell who has the same value, and how often each comes. Values that can be tried
out, as account numbers, are only safe from who has not got the key. There is no search by range or
by beginning. The key stays the same at a rotation, because what was indexed has to be found again.
"""

import unicodedata
from collections.abc import Callable
from typing import Final, NamedTuple

from strongroom.vault.keys import EntityKeys

SEPARATORS: Final = " \t\n\r\v\f\u00a0\u2009\u202f-\u2010\u2011\u2012\u2013\u2014\u2212._/:"
"""What people put between groups of an account number."""


class Purpose(NamedTuple):
    """What is looked for: digests of two purposes are never alike. The name lasts as they do."""

    name: bytes
    normal: Callable[[str], str]


def normal_email(text: str) -> str:
    """The address in one form: compatible characters as one (NFKC), case folded, trimmed.

    Nothing that a provider alone may know: the dots of a mailbox and what comes after a plus stay,
    so that two addresses that may be two people are never one.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", folded).strip()


def normal_account(text: str) -> str:
    """An IBAN or an account number in one form: without separators, in upper case (NFKC).

    Leading zeros stay: in some countries they are part of the number.
    """
    upper = unicodedata.normalize("NFKC", text).upper()
    bare = unicodedata.normalize("NFKC", upper).translate(_NO_SEPARATORS)
    # Once more: a mark that stood on a separator now stands on what came before it.
    return unicodedata.normalize("NFKC", bare)


_NO_SEPARATORS: Final = str.maketrans("", "", SEPARATORS)

EMAIL: Final = Purpose(b"email", normal_email)
ACCOUNT: Final = Purpose(b"account", normal_account)


def blind_index(keys: EntityKeys, purpose: Purpose, value: str) -> bytes:
    """The digest to store beside a value, and to look for it by: 16 bytes.

    Raises ValueError for a value of which nothing is left in its normal form.
    """
    normal = purpose.normal(value)
    if not normal:
        raise ValueError("there is nothing to look for in an empty value")
    return keys.index(purpose.name, normal.encode())
