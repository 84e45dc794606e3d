"""Blind indexes: equal for equal values of one entity and purpose, and for nothing else."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from strongroom.ids import new_entity_id
from strongroom.vault.blind_index import (
    ACCOUNT,
    EMAIL,
    SEPARATORS,
    blind_index,
    normal_account,
    normal_email,
)
from strongroom.vault.envelope import new_index_key, new_keyset
from strongroom.vault.keys import EntityKeys
from strongroom.vault.secret import Secret


def bundle(index: bytes) -> Secret:
    parts = {"data": new_keyset().reveal(), "wrapping": new_keyset().reveal(), "index": index}
    return Secret(msgspec.msgpack.encode(parts))


INDEX = new_index_key().reveal()
KEYS = EntityKeys(new_entity_id(1), {1: bundle(INDEX)})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada@Example.com", " ada@example.COM\n"),
        ("ａｄａ@example.com", "ada@example.com"),
        ("STRASSE@example.de", "straße@example.de"),
        ("e\u0301mile@example.fr", "\u00e9mile@example.fr"),
    ],
)
def test_one_address_is_found_however_it_is_written(one, other):
    assert blind_index(KEYS, EMAIL, one) == blind_index(KEYS, EMAIL, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.da@example.com", "ada@example.com"),
        ("ada+shop@example.com", "ada@example.com"),
        ("ada@example.com", "ada@example.org"),
    ],
)
def test_two_addresses_that_may_be_two_people_are_two(one, other):
    assert blind_index(KEYS, EMAIL, one) != blind_index(KEYS, EMAIL, other)


@pytest.mark.parametrize(
    "written",
    ["DE89 3704 0044 0532 0130 00", "de89-3704-0044-0532-0130-00", "ＤＥ89370400440532013000",
     "DE89\u00a03704\u202f0044.0532/0130:00"],
)  # fmt: skip
def test_one_account_is_found_however_it_is_written(written):
    assert normal_account(written) == "DE89370400440532013000"


def test_leading_zeros_are_part_of_a_number():
    assert blind_index(KEYS, ACCOUNT, "0012") != blind_index(KEYS, ACCOUNT, "12")


def test_purposes_and_entities_share_nothing():
    other = EntityKeys(new_entity_id(1), {1: bundle(new_index_key().reveal())})
    found = {
        blind_index(keys, purpose, "12345")
        for keys in (KEYS, other)
        for purpose in (EMAIL, ACCOUNT)
    }
    assert len(found) == 4
    assert all(len(one) == 16 for one in found)


def test_a_rotation_keeps_what_was_indexed():
    rotated = EntityKeys(KEYS.legal_entity_id, {1: bundle(INDEX), 2: bundle(INDEX)})
    assert blind_index(rotated, EMAIL, "a@b.c") == blind_index(KEYS, EMAIL, "a@b.c")


@pytest.mark.parametrize(("purpose", "value"), [(EMAIL, "  "), (ACCOUNT, " - . ")])
def test_nothing_is_not_looked_for(purpose, value):
    with pytest.raises(ValueError, match="nothing to look for"):
        blind_index(KEYS, purpose, value)


@given(st.text())
@example("A´")
def test_a_normal_form_is_its_own(text):
    assert normal_email(normal_email(text)) == normal_email(text)
    assert normal_account(normal_account(text)) == normal_account(text)
    assert not set(SEPARATORS) & set(normal_account(text))
