"""Fingerprints: what makes two requests under one Idempotency-Key the same request.

The fingerprint is versioned and covers method, path and the explicit stable fields. One-time
tokens are left out: a client that retries may hold a new one.
"""

import hashlib
from typing import Final
from uuid import UUID

import msgspec

VERSION: Final = b"\x01"
KEY_CHARACTERS_MAX: Final = 255


def fingerprint(method: str, path: str, stable_fields: object) -> bytes:
    """One version byte and a SHA-256: 33 bytes. `stable_fields` is encoded canonically."""
    body = msgspec.json.encode(stable_fields, order="deterministic")
    return VERSION + hashlib.sha256(f"{method} {path}\n".encode() + body).digest()


def gateway_key_seed(legal_entity_id: UUID, idempotency_key: str) -> bytes:
    """16 bytes from which all keys that a gateway sees for this payment are derived."""
    text = legal_entity_id.bytes + idempotency_key.encode()
    return hashlib.sha256(b"strongroom gateway key 1\n" + text).digest()[:16]
