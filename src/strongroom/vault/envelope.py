"""One value, sealed: a header that says how, and bytes that open in one place only.

A sealed value is a header of 63 bytes and a body:

    format 1 | algorithm 1 | kind of key 1 | key version 4 | key id 16 | commitment 32
    length of the body 4 | check of the place 4 | body: nonce 12, ciphertext, tag 16

The whole header and the place (legal entity, table, column, row) are associated data, so a value
that was moved or a header that was changed does not open. The commitment is a digest of the key: no
two keys open one value, which AES-GCM alone does not promise. Length and check of the place tell
apart what happened; they protect nothing by themselves.

The algorithm is AES-256-GCM-SIV (RFC 8452). Every payment of a legal entity is sealed under one
key, with random nonces; AES-GCM would wear that key out after 2^32 values (NIST SP 800-38D, 8.3)
and break at a nonce that comes twice, where this one shows at most that two values are equal.
"""

import hashlib
import hmac
import os
import struct
import zlib
from collections.abc import Callable
from enum import IntEnum
from functools import cache
from types import SimpleNamespace
from typing import Any, Final, NamedTuple
from uuid import UUID

from strongroom.errors import InvariantBroken
from strongroom.ids import tag_of
from strongroom.vault.errors import (
    Downgraded,
    ForeignEntity,
    Tampered,
    Truncated,
    UnknownFormat,
    WrongKey,
    WrongPlace,
)
from strongroom.vault.secret import Secret

FORMAT: Final = 1
AES_256_GCM: Final = 1
"""Known so that a header which names it is called a downgrade; nothing is sealed by it."""
AES_256_GCM_SIV: Final = 2
INDEX_KEY_BYTES: Final = 32

_KEY: Final = struct.Struct(">BBBI16s32s")
_REST: Final = struct.Struct(">II")
HEADER_BYTES: Final = _KEY.size + _REST.size
BODY_OVERHEAD: Final = 12 + 16
OVERHEAD_BYTES: Final = HEADER_BYTES + BODY_OVERHEAD
"""A sealed value is so much longer than what is in it."""
_COMMITMENT: Final = b"strongroom key commitment 1"


class Kind(IntEnum):
    """What a key is for; keys of different kinds are never derived from each other."""

    ENTITY = 1
    """Values of a legal entity."""
    WRAPPING = 2
    """Keys of subjects, of one legal entity."""
    SUBJECT = 3
    """Values of one subject."""


class Column(NamedTuple):
    """Where values lie: a table and a column. Names last as long as what was sealed for them."""

    table: str
    column: str

    @property
    def label(self) -> bytes:
        """Both names, each after its length, so that no two places read alike."""
        table, column = self.table.encode(), self.column.encode()
        return bytes([len(table)]) + table + bytes([len(column)]) + column


Sealing = Callable[[bytes, bytes], bytes]
"""Seals for one column: a row's key and the content make the sealed value."""


class Header(NamedTuple):
    """What a sealed value says of itself; nothing of it is proved before it is opened."""

    algorithm: int
    kind: Kind
    version: int
    key_id: UUID
    commitment: bytes


def header_of(sealed: bytes) -> Header:
    """The header, to find the key by. Raises Truncated and UnknownFormat."""
    if len(sealed) < HEADER_BYTES:
        raise Truncated
    form, algorithm, kind, version, key_id, commitment = _KEY.unpack_from(sealed)
    if form != FORMAT or algorithm not in (AES_256_GCM, AES_256_GCM_SIV):
        raise UnknownFormat
    try:
        return Header(algorithm, Kind(kind), version, UUID(bytes=key_id), commitment)
    except ValueError:
        raise UnknownFormat from None


def claimed_version(sealed: bytes) -> int:
    """The version that a header names, without a look at the rest of it; 0 where it is cut."""
    return int.from_bytes(sealed[3:7], "big") if len(sealed) >= HEADER_BYTES else 0


@cache
def load_tink() -> SimpleNamespace:
    """What is used of the library; to load it takes a tenth of a second, once."""
    import tink
    from tink import aead, proto_keyset_format, secret_key_access
    from tink.cc.pybind import tink_bindings
    from tink.proto import tink_pb2

    aead.register()
    template = aead.aead_key_templates.AES256_GCM_SIV_RAW
    return SimpleNamespace(
        Error=tink_bindings.PythonTinkException,
        new_handle=tink.new_keyset_handle,
        template=template,
        serialize=proto_keyset_format.serialize,
        read=tink_pb2.Keyset.FromString,
        enabled=tink_pb2.ENABLED,
        primitive=tink_bindings.AeadKeyManager.from_cc_registry(template.type_url).primitive,
        token=secret_key_access.TOKEN,
    )


def new_keyset() -> Secret:
    """A fresh key, as Tink writes it."""
    tink = load_tink()
    return Secret(tink.serialize(tink.new_handle(tink.template), tink.token))


def new_index_key() -> Secret:
    """A fresh key for blind indexes."""
    return Secret(os.urandom(INDEX_KEY_BYTES))


def _primitive(content: bytes) -> Any:
    """The primitive of a keyset that `new_keyset` made, without the layers that Tink has over it.

    They choose among the keys of a keyset, in Python, which is a quarter of what sealing costs.
    Ours has one key, whose values carry no prefix. Raises InvariantBroken for any other.
    """
    tink = load_tink()
    keys = list(tink.read(content).key)
    template = tink.template
    if [(key.status, key.output_prefix_type, key.key_data.type_url) for key in keys] != [
        (tink.enabled, template.output_prefix_type, template.type_url)
    ]:
        raise InvariantBroken("a keyset is not as we make them")
    return tink.primitive(keys[0].key_data.SerializeToString())


class FieldKey:
    """An unwrapped key of one legal entity: seals and opens values, each in its place.

    It lives in memory for as long as the cache keeps it, and says nothing of itself.
    """

    __slots__ = ("_aead", "_entity", "_head", "key_id", "kind", "version")

    def __init__(
        self, kind: Kind, legal_entity_id: UUID, key_id: UUID, version: int, keyset: Secret
    ) -> None:
        self.kind, self.key_id, self.version = kind, key_id, version
        self._entity = legal_entity_id.bytes
        content = keyset.reveal()
        commitment = hmac.digest(content, _COMMITMENT, hashlib.sha256)
        self._head = _KEY.pack(FORMAT, AES_256_GCM_SIV, kind, version, key_id.bytes, commitment)
        self._aead = _primitive(content)

    def __repr__(self) -> str:
        return f"FieldKey({self.kind.name}, version {self.version})"

    def seal(self, label: bytes, row: bytes, content: bytes) -> bytes:
        """The content, sealed for this place: `label` of its Column, and the row's key."""
        return self.sealing(label)(row, content)

    def sealing(self, label: bytes) -> Sealing:
        """Seals values of one column: what is the same for all of them is made once."""
        before, head_of_key, encrypt = self._entity + label, self._head, self._aead.encrypt
        check_before = zlib.crc32(before)
        rest, check_of = _REST.pack, zlib.crc32

        def seal(row: bytes, content: bytes) -> bytes:
            check = check_of(row, check_before)
            head = head_of_key + rest(len(content) + BODY_OVERHEAD, check)
            sealed: bytes = encrypt(content, head + before + row)
            return head + sealed

        return seal

    def open(self, label: bytes, row: bytes, sealed: bytes) -> bytes:
        """What was sealed for this place. Raises Unreadable: the class of it says why."""
        if len(sealed) < HEADER_BYTES:
            raise Truncated
        place = self._entity + label + row
        head = sealed[:HEADER_BYTES]
        if not hmac.compare_digest(head[: _KEY.size], self._head):
            raise self._why_not(sealed)
        length, check = _REST.unpack_from(sealed, _KEY.size)
        body = sealed[HEADER_BYTES:]
        if len(body) != length:
            raise Truncated if len(body) < length else Tampered
        if check != zlib.crc32(place):
            raise WrongPlace
        try:
            content: bytes = self._aead.decrypt(body, head + place)
        except load_tink().Error:
            raise Tampered from None
        return content

    def _why_not(self, sealed: bytes) -> Exception:
        """Why a header is not that of this key."""
        header = header_of(sealed)
        if header.algorithm != AES_256_GCM_SIV:
            return Downgraded()
        own_tag = tag_of(UUID(bytes=self._entity))
        if header.key_id != self.key_id and tag_of(header.key_id) != own_tag:
            return ForeignEntity()
        return WrongKey()
