"""Fingerprints and the keys that a gateway sees."""

from datetime import UTC, datetime

import pytest

from strongroom.http.bodies import ConfirmPayment, CreatePayment, Instrument, stable_fields
from strongroom.payments.idempotency import (
    VERSION,
    WITH_TEXTS,
    fingerprint,
    gateway_key_seed,
    is_same,
)
from tests.unit.examples import ACCOUNT, ENTITY

BODY = CreatePayment(
    amount=100,
    currency="eur",
    merchant_reference="order-1",
    instrument=Instrument("stripe", "pm_1"),
    metadata={"a": "1", "b": "2"},
)

OF_BODY = "01340e7832847b176399cd418904ab453c6a99d4e6bd4c3295c5bf906ec752ce26"
OF_FULL = "0118d7bf8d5e63fe471750949d797900b3318d11f4beb7eda6ad3dca6693d9d63c"
OF_MANUAL = "01ecab5886c24b059a83c0c064e942e832efc6f92105cb73b4bdc33b1abb646020"
OF_CONFIRM = "011b22be7a3a740e7cc3a1331c3c7892e24765828e43cb65f2b0af3b649b9a1562"


def of(body: CreatePayment | ConfirmPayment, path: str = "/v1/payments") -> bytes:
    return fingerprint("POST", path, stable_fields(body))


def with_fields(**fields: object) -> CreatePayment:
    known = {name: getattr(BODY, name) for name in BODY.__struct_fields__}
    return CreatePayment(**(known | fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"instrument": Instrument("stripe", "pm_other")},
        {"currency": "EUR"},
        {"metadata": {"b": "2", "a": "1"}},
    ],
)
def test_the_same_request(fields):
    assert of(with_fields(**fields)) == of(BODY)


@pytest.mark.parametrize(
    "fields",
    [
        {"amount": 101}, {"currency": "USD"}, {"merchant_reference": "order-2"},
        {"instrument": None}, {"description": ""}, {"metadata": {}},
        {"return_url": "https://a.example"},
    ],
)  # fmt: skip
def test_another_request(fields):
    assert of(with_fields(**fields)) != of(BODY)


def test_method_and_path_count():
    fields = stable_fields(BODY)
    made = {
        fingerprint("POST", "/a", fields),
        fingerprint("PUT", "/a", fields),
        fingerprint("POST", "/b", fields),
    }
    assert len(made) == 3
    assert all(len(one) == 33 and one[:1] == VERSION for one in made)


def test_gateway_keys_are_of_one_entity_and_one_key():
    seeds = {gateway_key_seed(e, k) for e in (ENTITY, ACCOUNT) for k in ("a", "b")}
    assert len(seeds) == 4
    assert gateway_key_seed(ENTITY, "a") == gateway_key_seed(ENTITY, "a")
    assert {len(seed) for seed in seeds} == {16}


def test_fingerprints_that_are_stored_go_on_to_be_found():
    """Of version 1: a change of these bytes would turn every retry of an old key into a 422."""
    full = with_fields(
        description="d", not_after=datetime(2026, 1, 2, tzinfo=UTC), return_url="https://a.example"
    )
    assert of(BODY).hex() == OF_BODY
    assert of(full).hex() == OF_FULL
    manual = of(with_fields(capture="manual"))
    assert manual.hex() == OF_MANUAL
    confirm = ConfirmPayment(Instrument("stripe", "pm_1"), return_url="https://a.example")
    assert of(confirm).hex() == OF_CONFIRM


def test_a_form_that_is_not_at_hand_decides_nothing():
    plain, keyed = fingerprint("POST", "/", {"a": 1}), WITH_TEXTS + bytes(32)
    assert is_same(plain, plain, b"") is True
    assert is_same(keyed, plain, b"") is None
    assert is_same(keyed, plain, plain) is False  # a request without texts is another one
    assert is_same(keyed, plain, WITH_TEXTS + bytes(31) + b"x") is False
    assert is_same(fingerprint("POST", "/", {"a": 2}), plain, b"") is False
