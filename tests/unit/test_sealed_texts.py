"""Texts of many payments are sealed together, each under its own entity's keys and for its row."""

import msgspec
import pytest

from strongroom.ids import new_entity_id, new_id
from strongroom.payments.texts import SALT_BYTES, Texts, open_texts, seal_all, seal_texts
from strongroom.vault.envelope import new_index_key, new_keyset
from strongroom.vault.errors import KeysOutdated, Unreadable
from strongroom.vault.keys import EntityKeys
from strongroom.vault.secret import Secret

SALT = bytes(SALT_BYTES)


def keys_of(number: int, *, seals_until: float = float("inf")) -> EntityKeys:
    bundle = {
        "data": new_keyset().reveal(),
        "wrapping": new_keyset().reveal(),
        "index": new_index_key().reveal(),
    }
    wrapped = Secret(msgspec.msgpack.encode(bundle))
    return EntityKeys(new_entity_id(number), {1: wrapped}, seals_until=seals_until)


def test_each_is_sealed_under_its_own_keys_and_what_is_none_stays_none() -> None:
    one, two = keys_of(1), keys_of(2)
    owners = [new_id(number, keys.legal_entity_id) for number, keys in enumerate((one, two, one))]
    texts = [Texts(f"text {number}", {"n": str(number)}) for number in range(3)]
    wanted = [
        seal_texts(keys, owner, text, SALT)
        for keys, owner, text in zip((one, two, one), owners, texts, strict=True)
    ]
    stored = seal_all([wanted[0], None, wanted[1], wanted[2]])
    assert stored[1] is None
    sealed = [value for value in stored if value is not None]
    for keys, owner, text, value in zip((one, two, one), owners, texts, sealed, strict=True):
        assert open_texts(keys, owner, value) == text
    for keys, owner in ((two, owners[1]), (one, owners[2])):
        with pytest.raises(Unreadable):
            open_texts(keys, owner, sealed[0])


def test_one_whose_keys_are_outdated_lets_nothing_be_sealed() -> None:
    fresh, old = keys_of(1), keys_of(2, seals_until=0.0)
    wanted = [
        seal_texts(keys, new_id(1, keys.legal_entity_id), Texts("late"), SALT)
        for keys in (fresh, old)
    ]
    with pytest.raises(KeysOutdated):
        seal_all(wanted)
    assert len(seal_all(wanted[:1])) == 1
