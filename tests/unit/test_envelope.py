"""Sealed values: each that was moved, changed or cut is refused with its own error.

Values of an entity, keys of subjects under it, and values of those subjects go the same way, so
each of the three is tried.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
