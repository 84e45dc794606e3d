"""Time-ordered ids that carry their legal entity.

An id is a UUIDv7 (RFC 9562) whose last 32 bits are the tag of its legal entity, so that any id is
routed without a look-up. Laid out from the left: 48 bits milliseconds, 4 bits version, 12 bits
fraction of the millisecond (method 3 of the RFC), 2 bits variant, 30 random, 32 tag. So ids sort by
the microsecond in which they were made. As text: a prefix and 26 characters of Crockford's base32
in lower case, which sorts as the bytes do: `pay_01k...`.
"""

import os
from collections.abc import Iterable
from typing import Final, Literal, get_args
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as DriverUUID  # noqa: N811

Prefix = Literal[
    "ent", "pay", "ref", "key", "gwa", "req", "sub", "alm", "dsp", "cus", "pyt", "pm",
    "txc", "whe",
]  # fmt: skip

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
TEXT_CHARACTERS: Final = 26
TAG_BITS: Final = 32
TAG_MASK: Final = (1 << TAG_BITS) - 1
BUCKETS: Final = 64
"""Legal entities share this many buckets; jobs are claimed and the log is sequenced by bucket."""

_TRIPLES: Final = tuple(a + b + c for a in ALPHABET for b in ALPHABET for c in ALPHABET)
"""All 15-bit values as text: nine look-ups write an id."""
_AS_PYTHON_DIGITS: Final = str.maketrans(ALPHABET, "0123456789abcdefghijklmnopqrstuv")
_ALPHABET: Final = frozenset(ALPHABET)
_VERSION_AND_VARIANT: Final = (0x7 << 76) | (0b10 << 62)
_RANDOM_BITS: Final = 30
_RANDOM_B_MASK: Final = ((1 << _RANDOM_BITS) - 1) << TAG_BITS


class MalformedId(ValueError):
    """The text is no id of the wanted kind."""


def new_entity_id(microseconds: int) -> UUID:
    """A fresh legal entity id; its last 32 bits become the entity's tag."""
    return _build(microseconds, int.from_bytes(os.urandom(4), "big"))


def new_id(microseconds: int, legal_entity_id: UUID) -> UUID:
    """A fresh id of something that `legal_entity_id` owns, created at `microseconds`."""
    return _build(microseconds, legal_entity_id.int & TAG_MASK)


def new_ids(microseconds: int, legal_entity_id: UUID, count: int) -> list[UUID]:
    """As many fresh ids of one moment: in order, and never two alike.

    Drawn one by one, two of 500 would be alike once in 8,600 times. So only the first is drawn.
    """
    head = _moment(microseconds) | _VERSION_AND_VARIANT | (legal_entity_id.int & TAG_MASK)
    noise = int.from_bytes(os.urandom(4), "big") >> (32 - _RANDOM_BITS)
    first = noise % ((1 << _RANDOM_BITS) - count)
    return [_uuid(head | (first + step) << TAG_BITS) for step in range(count)]


def first_at(microseconds: int) -> UUID:
    """The lowest id that can be made at this moment, whoever owns it."""
    return UUID(int=_moment(microseconds) | (0x7 << 76))


def _moment(microseconds: int) -> int:
    milliseconds, rest = divmod(microseconds, 1000)
    return (milliseconds << 80) | (((rest << 12) // 1000) << 64)


def _uuid(value: int) -> UUID:
    """In the database driver's class of UUIDs: made and sent in a sixth of the time."""
    return DriverUUID(value.to_bytes(16, "big"))


def _build(microseconds: int, tag: int) -> UUID:
    noise = int.from_bytes(os.urandom(8), "big") & _RANDOM_B_MASK
    return _uuid(_moment(microseconds) | _VERSION_AND_VARIANT | noise | tag)


def tag_of(identifier: UUID) -> int:
    """The 32-bit tag of the legal entity that the id belongs to."""
    return identifier.int & TAG_MASK


def bucket_of(legal_entity_id: UUID) -> int:
    """The bucket (0 to BUCKETS - 1) of a legal entity; it never changes."""
    return tag_of(legal_entity_id) % BUCKETS


def to_text(prefix: Prefix, identifier: UUID) -> str:
    """`pay_` and 26 characters; sorts as the id's bytes do."""
    value = identifier.int
    low = value & 0xFFFFFFFFFFFFFFF  # 60 bits: small integers are cheaper to shift
    middle = (value >> 60) & 0xFFFFFFFFFFFFFFF
    text = _TRIPLES
    return (
        f"{prefix}_{ALPHABET[value >> 125]}{ALPHABET[(value >> 120) & 31]}"
        f"{text[middle >> 45]}{text[(middle >> 30) & 32767]}"
        f"{text[(middle >> 15) & 32767]}{text[middle & 32767]}"
        f"{text[low >> 45]}{text[(low >> 30) & 32767]}"
        f"{text[(low >> 15) & 32767]}{text[low & 32767]}"
    )


def from_text(prefix: Prefix, text: str) -> UUID:
    """The id that `to_text` wrote.

    Raises MalformedId for another prefix, length or alphabet.
    """
    head, _, tail = text.partition("_")
    if head != prefix or len(tail) != TEXT_CHARACTERS or not _ALPHABET.issuperset(tail):
        raise MalformedId(f"not an id that begins with {prefix}_")
    value = int(tail.translate(_AS_PYTHON_DIGITS), 32)
    if value >> 128:
        raise MalformedId(f"not an id that begins with {prefix}_")
    return UUID(int=value)


def from_any_text(text: str) -> UUID:
    """The id that `to_text` wrote, whatever it is of. Raises MalformedId."""
    for prefix in get_args(Prefix):
        if text.startswith(f"{prefix}_"):
            return from_text(prefix, text)
    raise MalformedId("not an id of anything that is known here")


def as_array_literal(identifiers: Iterable[UUID]) -> str:
    """Ids as `a,b,c` for the setting that row-level security reads; only hex digits and dashes."""
    return ",".join(str(identifier) for identifier in identifiers)
