"""Fingerprints and the keys that a gateway sees."""

import pytest

from strongroom.http.bodies import ConfirmPayment, CreatePayment, Instrument, stable_fields
from strongroom.payments.idempotency import VERSION, fingerprint, gateway_key_seed
from tests.unit.examples import ACCOUNT, ENTITY

BODY = CreatePayment(
    amount=100,
    currency="eur",
    merchant_reference="order-1",
    instrument=Instrument("stripe", "pm_1"),
    metadata={"a": "1", "b": "2"},
)


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
