"""Fingerprints: what makes two requests under one Idempotency-Key the same request.

The fingerprint is versioned and covers method, path and the explicit stable fields. One-time
tokens are left out: a client that retries may hold a new one.
"""

import hashlib
from collections.abc import Callable
from typing import Final
from uuid import UUID

import msgspec

VERSION: Final = b"\x01"
WITH_TEXTS: Final = b"\x02"
"""A keyed digest: the request has texts, and who has the database alone cannot try them out."""
KEY_CHARACTERS_MAX: Final = 255


def fingerprint(
    method: str,
    path: str,
    stable_fields: object,
    mac: Callable[[bytes], bytes] | None = None,
) -> bytes:
    """One version byte and 32 bytes of SHA-256, or of `mac`, over the canonical fields."""
    body = f"{method} {path}\n".encode() + msgspec.json.encode(stable_fields, order="deterministic")
    return VERSION + hashlib.sha256(body).digest() if mac is None else WITH_TEXTS + mac(body)


def is_same(stored: bytes, *forms: bytes) -> bool | None:
    """Whether a stored fingerprint is one of the forms of a request's; an empty one is not at hand.

    None where only that one could tell.
    """
    if stored in forms:
        return True
    return None if b"" in forms and stored[:1] == WITH_TEXTS else False


def gateway_key_seed(legal_entity_id: UUID, idempotency_key: str) -> bytes:
    """16 bytes from which all keys that a gateway sees for this payment are derived."""
    text = legal_entity_id.bytes + idempotency_key.encode()
    return hashlib.sha256(b"strongroom gateway key 1\n" + text).digest()[:16]
