"""Ids: time-ordered, of one entity, and read back only as they were written."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.ids import (
    ALPHABET,
    BUCKETS,
    MalformedId,
    as_array_literal,
    bucket_of,
    first_at,
    from_text,
    new_entity_id,
    new_id,
    new_ids,
    tag_of,
    to_text,
)

identifiers = st.integers(0, 2**128 - 1).map(lambda value: UUID(int=value))
moments = st.integers(0, 2**48 - 1)


@given(identifiers)
def test_text_and_back(identifier):
    text = to_text("pay", identifier)
    assert len(text) == 30
    assert from_text("pay", text) == identifier


@given(identifiers, identifiers)
def test_text_sorts_as_the_bytes_do(one, other):
    assert (to_text("pay", one) < to_text("pay", other)) == (one.bytes < other.bytes)


@given(moments, moments)
def test_an_id_is_a_uuid7_of_its_entity_and_moment(at, later):
    entity = new_entity_id(at)
    made = new_id(later, entity)
    for identifier in (entity, made):
        assert (identifier.version, identifier.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == later // 1000
    assert (made.int >> 64) & 0xFFF == (later % 1000) * 4096 // 1000
    assert first_at(later) <= made < first_at(later + 1)
    assert tag_of(made) == tag_of(entity)
    assert bucket_of(made) == bucket_of(entity)
    assert 0 <= bucket_of(entity) < BUCKETS
    assert made != new_id(later, entity)


@given(st.text(max_size=40))
def test_anything_else_is_malformed(text):
    try:
        identifier = from_text("pay", text)
    except MalformedId:
        return
    assert to_text("pay", identifier) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "pay", "pay_", "key_" + "0" * 26, "pay_" + "0" * 25, "pay_" + "0" * 27,
        "pay_" + "O" * 26, "PAY_" + "0" * 26, "pay_" + "i" * 26, "pay_8" + "0" * 25,
        "pay_" + "z" * 26, "pay_" + "\u0660" * 26, "pay_" + "A" * 26,
    ],
)  # fmt: skip
def test_these_are_malformed(text):
    with pytest.raises(MalformedId):
        from_text("pay", text)


def test_the_array_literal_holds_nothing_but_ids():
    ids = [new_entity_id(1), new_entity_id(2)]
    literal = as_array_literal(ids)
    assert set(literal) <= set("0123456789abcdef-,")
    assert [UUID(part) for part in literal.split(",")] == ids
    assert len(set(ALPHABET)) == 32


@given(st.integers(0, 2**47), st.integers(1, 500))
def test_ids_of_one_moment_are_distinct_and_in_order(microseconds, count):
    entity = new_entity_id(0)
    ids = new_ids(microseconds, entity, count)
    assert len(set(ids)) == count
    assert ids == sorted(ids)
    mask = (1 << 62) - (1 << 32)
    for one in ids:
        alone = new_id(microseconds, entity)
        assert one.int & ~mask == alone.int & ~mask


def test_ids_of_one_moment_do_not_run_over_their_random_part(monkeypatch):
    for noise in (b"\xff" * 4, b"\0" * 4):
        monkeypatch.setattr("strongroom.ids.os.urandom", lambda _, noise=noise: noise)
        ids = new_ids(1, new_entity_id(0), 500)
        assert ids == sorted(set(ids))
        assert {one.int >> 62 for one in ids} == {ids[0].int >> 62}
