"""Sealed values: each that was moved, changed or cut is refused with its own error.

Values of an entity, keys of subjects under it, and values of those subjects go the same way, so
each of the three is tried.
"""

import hashlib
import hmac
import zlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import tink
from hypothesis import given, settings
from hypothesis import strategies as st
from tink import aead, proto_keyset_format, secret_key_access
from tink.proto import tink_pb2

from strongroom.errors import InvariantBroken
from strongroom.ids import new_entity_id, new_id
from strongroom.vault import envelope, errors
from strongroom.vault.envelope import (
    HEADER_BYTES,
    OVERHEAD_BYTES,
    Column,
    FieldKey,
    Kind,
    claimed_version,
    header_of,
    new_index_key,
    new_keyset,
)
from strongroom.vault.keys import EntityKeys
from strongroom.vault.secret import Secret

ENTITY, STRANGER = new_entity_id(1), new_entity_id(2)
SUBJECT, OTHER_SUBJECT = new_id(1, ENTITY), new_id(2, ENTITY)
PLACE = (Column("people", "name").label, b"row-1")
FIELDS = {
    "format": (0, 1), "algorithm": (1, 2), "kind": (2, 3), "version": (3, 7), "key_id": (7, 23),
    "commitment": (23, 55), "length": (55, 59), "check": (59, 63),
}  # fmt: skip


def keys_of(entity, *versions: int) -> EntityKeys:
    index = new_index_key().reveal()
    return EntityKeys(
        entity,
        {
            version: Secret(
                msgspec.msgpack.encode({
                    "data": new_keyset().reveal(), "wrapping": new_keyset().reveal(),
                    "index": index,
                })
            )
            for version in versions
        },
    )  # fmt: skip


class Sealer:
    """One of the three that seal: how it seals, how it opens, and strangers that look alike."""

    def __init__(self, kind: Kind, seal: Callable[..., bytes], open_: Callable[..., bytes],
                 **strangers: Callable[..., bytes]) -> None:  # fmt: skip
        self.kind, self.seal, self.open, self.strangers = kind, seal, open_, strangers

    def __repr__(self) -> str:
        return self.kind.name


def _unwrap(keys: EntityKeys) -> Callable[..., bytes]:
    return lambda label, row, sealed: keys.unwrap(label, row, sealed).reveal()


def _wrap(keys: EntityKeys) -> Callable[..., bytes]:
    return lambda label, row, content: keys.wrap(label, row, Secret(content))


OURS, OTHER, FOREIGN = keys_of(ENTITY, 1, 2), keys_of(ENTITY, 1, 2), keys_of(STRANGER, 1, 2)
SUBJECT_KEY, FOREIGN_KEY = (
    FieldKey(Kind.SUBJECT, entity, subject, 1, new_keyset())
    for entity, subject in ((ENTITY, SUBJECT), (STRANGER, new_id(1, STRANGER)))
)
SEALERS = [
    Sealer(Kind.ENTITY, OURS.seal, OURS.open, wrong_key=OTHER.seal, foreign=FOREIGN.seal,
           another_kind=_wrap(OURS)),
    Sealer(Kind.WRAPPING, _wrap(OURS), _unwrap(OURS), wrong_key=_wrap(OTHER),
           foreign=_wrap(FOREIGN), another_kind=OURS.seal),
    Sealer(Kind.SUBJECT, SUBJECT_KEY.seal, SUBJECT_KEY.open,
           wrong_key=FieldKey(Kind.SUBJECT, ENTITY, SUBJECT, 1, new_keyset()).seal,
           foreign=FOREIGN_KEY.seal, another_kind=OURS.seal),
]  # fmt: skip

contents = st.binary(max_size=200)
by_sealer = pytest.mark.parametrize("sealer", SEALERS, ids=repr)


@by_sealer
@given(content=contents)
def test_it_opens_in_its_place(sealer, content):
    sealed = sealer.seal(*PLACE, content)
    assert sealer.open(*PLACE, sealed) == content
    assert len(sealed) == len(content) + OVERHEAD_BYTES
    assert header_of(sealed).kind == sealer.kind
    assert content not in sealed or len(content) < 4


@by_sealer
@pytest.mark.parametrize(
    "place",
    [
        (Column("people", "email").label, b"row-1"),
        (Column("peoples", "name").label, b"row-1"),
        (Column("people", "name").label, b"row-2"),
        (Column("people", "name").label, b""),
        (Column("peoplen", "ame").label, b"row-1"),
    ],
)
def test_it_opens_nowhere_else(sealer, place):
    with pytest.raises(errors.WrongPlace):
        sealer.open(*place, sealer.seal(*PLACE, b"Ada"))


@by_sealer
@given(content=contents, data=st.data())
def test_a_place_whose_check_is_put_right_does_not_open_it_either(sealer, content, data):
    other = (PLACE[0], data.draw(st.binary(max_size=20).filter(lambda row: row != PLACE[1])))
    check = sealer.seal(*other, b"")[59:63]
    sealed = sealer.seal(*PLACE, content)
    with pytest.raises(errors.Tampered):
        sealer.open(*other, sealed[:59] + check + sealed[63:])


def rows_of_one_check() -> tuple[bytes, bytes]:
    """Two rows whose places have the same check, which has 32 bits."""
    seen: dict[int, bytes] = {}
    for number in range(2**20):
        row = hashlib.sha256(b"%d" % number).digest()[:12]
        check = zlib.crc32(ENTITY.bytes + PLACE[0] + row)
        if check in seen:
            return seen[check], row
        seen[check] = row
    raise AssertionError("no two of a million rows have one check")


@by_sealer
def test_a_place_that_has_the_same_check_does_not_open_it_either(sealer):
    """The check protects nothing: the place is bound by what seals."""
    one, other = rows_of_one_check()
    sealed = sealer.seal(PLACE[0], one, b"Ada")
    assert sealer.open(PLACE[0], one, sealed) == b"Ada"
    with pytest.raises(errors.Tampered):
        sealer.open(PLACE[0], other, sealed)


@by_sealer
@pytest.mark.parametrize(
    ("stranger", "error"),
    [("wrong_key", errors.WrongKey), ("foreign", errors.ForeignEntity)],
)
def test_what_another_sealed_is_refused(sealer, stranger, error):
    with pytest.raises(error):
        sealer.open(*PLACE, sealer.strangers[stranger](*PLACE, b"Ada"))


@pytest.mark.parametrize("sealer", SEALERS, ids=repr)
def test_what_a_key_of_another_kind_sealed_is_refused(sealer):
    with pytest.raises(errors.WrongKey):
        sealer.open(*PLACE, sealer.strangers["another_kind"](*PLACE, b"Ada"))


def test_what_another_subject_sealed_is_refused():
    other = FieldKey(Kind.SUBJECT, ENTITY, OTHER_SUBJECT, 1, new_keyset())
    with pytest.raises(errors.WrongKey):
        SUBJECT_KEY.open(*PLACE, other.seal(*PLACE, b"Ada"))


def test_the_key_of_another_subject_is_not_unwrapped():
    label = Column("subject_keys", "wrapped").label
    wrapped = OURS.wrap(label, OTHER_SUBJECT.bytes, new_keyset())
    with pytest.raises(errors.WrongPlace):
        OURS.unwrap(label, SUBJECT.bytes, wrapped)


@by_sealer
@given(content=contents, data=st.data())
def test_a_part_of_it_is_refused(sealer, content, data):
    sealed = sealer.seal(*PLACE, content)
    length = data.draw(st.integers(0, len(sealed) - 1))
    with pytest.raises(errors.Truncated):
        sealer.open(*PLACE, sealed[:length])


@by_sealer
@given(content=contents, more=st.binary(min_size=1, max_size=20))
def test_more_than_it_is_refused(sealer, content, more):
    with pytest.raises(errors.Tampered):
        sealer.open(*PLACE, sealer.seal(*PLACE, content) + more)


@by_sealer
@given(content=contents, data=st.data())
def test_a_changed_body_is_refused(sealer, content, data):
    sealed = bytearray(sealer.seal(*PLACE, content))
    sealed[data.draw(st.integers(HEADER_BYTES, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(errors.Tampered):
        sealer.open(*PLACE, bytes(sealed))


@by_sealer
@pytest.mark.parametrize("field", FIELDS)
@settings(max_examples=60)
@given(data=st.data())
def test_a_changed_header_is_refused_by_what_was_changed(sealer, field, data):
    sealed = bytearray(sealer.seal(*PLACE, b"Ada"))
    before = bytes(sealed)
    start, end = FIELDS[field]
    sealed[start:end] = data.draw(
        st.binary(min_size=end - start, max_size=end - start).filter(
            lambda changed: changed != before[start:end]
        )
    )
    with pytest.raises(errors.VaultError) as raised:
        sealer.open(*PLACE, bytes(sealed))
    assert type(raised.value) in _expected(field, sealer, bytes(sealed), before)


def _expected(field: str, sealer: Sealer, now: bytes, before: bytes) -> set[Any]:
    """The class that it has to be; two where a changed number can mean one thing or the other."""
    if field == "format":
        return {errors.UnknownFormat}
    if field == "algorithm":
        return {errors.Downgraded if now[1] == envelope.AES_256_GCM else errors.UnknownFormat}
    if field == "kind":
        return {errors.WrongKey if now[2] in list(Kind) else errors.UnknownFormat}
    if field == "version":
        if sealer.kind == Kind.SUBJECT or claimed_version(now) == 1:
            return {errors.WrongKey}  # there is a version 1, and it is another key
        return {errors.KeyMissing}
    if field == "key_id":
        same_tag = now[19:23] == before[19:23]
        return {errors.WrongKey if same_tag else errors.ForeignEntity}
    if field == "commitment":
        return {errors.WrongKey}
    if field == "length":
        longer = now[55:59] > before[55:59]
        return {errors.Truncated if longer else errors.Tampered}
    return {errors.WrongPlace}


@by_sealer
def test_a_downgraded_header_is_called_so(sealer):
    sealed = sealer.seal(*PLACE, b"Ada")
    with pytest.raises(errors.Downgraded):
        sealer.open(*PLACE, sealed[:1] + bytes([envelope.AES_256_GCM]) + sealed[2:])


def test_an_older_version_opens_and_a_missing_one_says_so():
    index = new_index_key().reveal()
    bundles = {
        version: Secret(msgspec.msgpack.encode({
            "data": new_keyset().reveal(), "wrapping": new_keyset().reveal(), "index": index}))
        for version in (1, 2, 3)
    }  # fmt: skip
    first = EntityKeys(ENTITY, {1: bundles[1]})
    rotated = EntityKeys(ENTITY, {1: bundles[1], 2: bundles[2]})
    newest = EntityKeys(ENTITY, bundles)
    old, new = first.seal(*PLACE, b"old"), newest.seal(*PLACE, b"new")
    assert rotated.open(*PLACE, old) == newest.open(*PLACE, old) == b"old"
    assert rotated.lacks(new)
    assert not rotated.lacks(old)
    assert not newest.lacks(new)
    assert not FOREIGN.lacks(new)
    with pytest.raises(errors.KeyMissing):
        rotated.open(*PLACE, new)


@given(st.binary(max_size=120))
def test_any_bytes_are_refused(sealed):
    for sealer in SEALERS:
        with pytest.raises(errors.Unreadable):
            sealer.open(*PLACE, sealed)
    assert not OURS.lacks(sealed)


def test_fingerprints_stay_what_they_were_whatever_was_digested_between():
    index = bytes(range(32))
    bundle = {"data": new_keyset().reveal(), "wrapping": new_keyset().reveal(), "index": index}
    keys = EntityKeys(ENTITY, {1: Secret(msgspec.msgpack.encode(bundle))})
    mac_key = hmac.digest(index, b"strongroom fingerprints 1", "sha256")
    for message in (b"", b"a", b"POST /v1/payments\n{}", bytes(127), bytes(128), bytes(1000), b"a"):
        expected = hashlib.blake2b(message, digest_size=32, key=mac_key).digest()
        assert keys.mac(message) == expected
        assert OURS.mac(message) != OTHER.mac(message)


@given(content=contents)
def test_a_body_is_what_tink_itself_reads_and_writes(content):
    keyset = new_keyset()
    key = FieldKey(Kind.SUBJECT, ENTITY, SUBJECT, 1, keyset)
    handle = proto_keyset_format.parse(keyset.reveal(), secret_key_access.TOKEN)
    bare = handle.primitive(aead.Aead)
    sealed = key.seal(*PLACE, content)
    head, body = sealed[:HEADER_BYTES], sealed[HEADER_BYTES:]
    bound = head + ENTITY.bytes + PLACE[0] + PLACE[1]
    assert bare.decrypt(body, bound) == content
    assert key.open(*PLACE, head + bare.encrypt(content, bound)) == content


def test_one_sealing_binds_each_value_to_its_own_row():
    seal = OURS.sealing(PLACE[0])
    sealed = {row: seal(row, b"in " + row) for row in (b"1", b"2", b"", b"12")}
    for row, value in sealed.items():
        assert OURS.open(PLACE[0], row, value) == b"in " + row
        for other in sealed.keys() - {row}:
            with pytest.raises(errors.WrongPlace):
                OURS.open(PLACE[0], other, value)


def _keyset(*templates: Any, disabled: bool = False) -> Secret:
    """A keyset with a key of each template."""
    whole = tink_pb2.Keyset()
    for template in templates:
        handle = tink.new_keyset_handle(template)
        raw = proto_keyset_format.serialize(handle, secret_key_access.TOKEN)
        whole.MergeFromString(raw)
    if disabled:
        whole.key[0].status = tink_pb2.DISABLED
    return Secret(whole.SerializeToString())


AS_WE_MAKE = aead.aead_key_templates.AES256_GCM_SIV_RAW


@pytest.mark.parametrize(
    "keyset",
    [
        _keyset(),
        _keyset(AS_WE_MAKE, AS_WE_MAKE),
        _keyset(AS_WE_MAKE, disabled=True),
        _keyset(aead.aead_key_templates.AES256_GCM_SIV),
        _keyset(aead.aead_key_templates.AES256_GCM_RAW),
    ],
    ids=["empty", "two keys", "disabled", "with a prefix", "another algorithm"],
)
def test_a_keyset_that_is_not_as_we_make_them_is_refused(keyset):
    FieldKey(Kind.SUBJECT, ENTITY, SUBJECT, 1, _keyset(AS_WE_MAKE))
    with pytest.raises(InvariantBroken):
        FieldKey(Kind.SUBJECT, ENTITY, SUBJECT, 1, keyset)
