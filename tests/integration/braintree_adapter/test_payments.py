"""Payments through the Braintree adapter, judged by the stand-in's ledger."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from strongroom.gateways.port import MerchantAccount
from strongroom.payments.states import (
    Approved,
    Authorized,
    Canceled,
    Declined,
    Mismatched,
    NotSent,
    NotShown,
    Pending,
    Unknown,
)
from tests.integration.braintree_adapter.selling import (
    BROKEN,
    EUR,
    KEYS,
    LOST,
    Keys,
    account_at,
    charges,
    fault,
    new_attempt,
    order_id,
    settle,
    sold,
)
from tests.sandbox.braintree_server import MERCHANT, PUBLIC_KEY
from tests.unit.examples import AMOUNT

TAKEN = Approved(AMOUNT, "EUR", settled=False)
PART = 700


async def test_a_sale_takes_money_once_and_is_found(gateway, account, knobs):
    server = knobs
    server.knobs(search_lag_seconds=0)
    one, answer, call = await sold(gateway, account)
    assert answer == TAKEN
    assert (call.operation, call.http_status) == ("sale", 200)
    assert call.outcome == "submitted_for_settlement"
    again, same = await gateway.send(account, replace(one, gateway_object_id=None))
    assert (again, same.object_id) == (TAKEN, one.gateway_object_id)
    by_id, _ = await gateway.look(account, one)
    by_reference, found = await gateway.look(account, replace(one, gateway_object_id=None))
    assert (by_id, by_reference, found.object_id) == (TAKEN, TAKEN, one.gateway_object_id)
    [charge] = charges(server, one)
    assert (charge["amount"], charge["currency"]) == (AMOUNT, "EUR")
    assert (charge["merchant_account_id"], charge["api_request_key"]) == ("eur", one.gateway_key)
    settle(server, one.gateway_object_id)
    assert (await gateway.look(account, one))[0] == Approved(AMOUNT, "EUR")
    settle(server, one.gateway_object_id, succeed=False)
    assert (await gateway.look(account, one))[0] == Declined(
        "generic_decline", "4001", object_open=False
    )


async def test_parameters_hold_references_only(gateway):
    one = new_attempt(gateway, capture="manual", paid_to=MerchantAccount("eur", True))
    assert one.parameters == {
        "sale": {
            "amount": "20.00",
            "payment_method_nonce": "fake-valid-nonce",
            "order_id": order_id(one),
            "merchant_account_id": "eur",
            "options": {"submit_for_settlement": False, "three_d_secure": {"required": True}},
        }
    }
    assert order_id(one).startswith("pay_")
    assert order_id(one).endswith(".1")


async def test_without_a_merchant_account_nothing_is_asked(gateway, account, server):
    one, answer, call = await sold(gateway, account, paid_to=None)
    assert answer == Declined("config_error", "merchant_account_missing", object_open=False)
    assert (call.http_status, charges(server, one)) == (None, [])


@pytest.mark.parametrize(
    ("currency", "amount_minor", "paid_to"),
    [("JPY", 1999, "jpy"), ("KWD", 12340, "kwd"), ("ISK", 1500, "isk"), ("USD", 1050, "usd")],
)
async def test_amounts_of_each_exponent_arrive(
    gateway, account, server, currency, amount_minor, paid_to
):
    one, answer, _ = await sold(
        gateway,
        account,
        paid_to=MerchantAccount(paid_to, three_d_secure=False),
        currency=currency,
        amount_minor=amount_minor,
    )
    assert answer == Approved(amount_minor, currency, settled=False)
    [charge] = charges(server, one)
    assert (charge["amount"], charge["currency"]) == (amount_minor, currency)


async def test_another_currency_than_wanted_is_a_mismatch(gateway, account):
    wrong = MerchantAccount("usd", three_d_secure=False)
    one, answer, _ = await sold(gateway, account, paid_to=wrong)
    assert answer == Mismatched(AMOUNT, "USD")
    assert (await gateway.look(account, one))[0] == Mismatched(AMOUNT, "USD")


@pytest.mark.parametrize(
    ("code", "decline"),
    [("2001", "insufficient_funds"), ("2004", "expired_card"), ("2010", "incorrect_cvc"),
     ("2014", "fraud"), ("2047", "lost_stolen"), ("2099", "authentication_required"),
     ("2046", "generic_decline"), ("3000", "try_again"), ("2200", "not_permitted")],
)  # fmt: skip
async def test_declines_are_final_and_normalised(gateway, account, server, code, decline):
    one, answer, call = await sold(gateway, account, server.nonce(decline=code))
    assert answer == Declined(decline, code, object_open=False)
    assert (call.code, call.object_id is None) == (code, False)
    assert (await gateway.look(account, one))[0] == answer
    assert charges(server, one) == []


@pytest.mark.parametrize(
    ("reason", "decline"),
    [("avs", "avs_mismatch"), ("cvv", "incorrect_cvc"), ("fraud", "fraud"),
     ("risk_threshold", "fraud")],
)  # fmt: skip
async def test_what_braintree_rejects_itself(gateway, account, server, reason, decline):
    _, answer, _ = await sold(gateway, account, server.nonce(rejection=reason))
    assert answer == Declined(decline, reason, object_open=False)


async def test_a_duplicate_leaves_open_what_became_of_the_one_it_repeats(gateway, account, server):
    one, answer, _ = await sold(gateway, account, server.nonce(rejection="duplicate"))
    assert answer == Unknown("duplicate_at_gateway")
    assert charges(server, one) == []


async def test_a_nonce_that_is_no_good_makes_nothing(gateway, account, server):
    for nonce, code in (("fake-consumed-nonce", "91564"), ("nothing-of-yours", "91565")):
        one, answer, call = await sold(gateway, account, nonce)
        assert answer == Declined("invalid_instrument", code, object_open=False)
        assert (call.object_id, charges(server, one)) == (None, [])


@pytest.mark.parametrize(
    ("name", "more", "answer", "charged"),
    [
        ("drop_before", {}, LOST, 0),
        ("drop_after", {}, LOST, 1),
        ("error_500_before", {}, BROKEN, 0),
        ("error_500_after", {}, BROKEN, 1),
        ("error_503", {}, BROKEN, 0),
        ("error_429", {}, NotSent("rate_limited"), 0),
        ("malformed", {}, None, 1),
        ("wrong_amount", {}, Mismatched(AMOUNT + 100, "EUR"), 1),
        ("wrong_currency", {}, None, 1),
    ],
)
async def test_what_goes_wrong_is_not_called_more_than_it_proves(
    gateway, account, knobs, name, more, answer, charged
):
    fault(knobs, "sale", name, **more)
    one, heard, _ = await sold(gateway, account)
    knobs.control("DELETE", "/_knobs")
    if name == "malformed":
        assert isinstance(heard, Unknown)
        assert heard.why.startswith("malformed_")
    elif name == "wrong_currency":
        assert isinstance(heard, Mismatched)
    else:
        assert heard == answer
    assert len(charges(knobs, one)) == charged
    # The same again, under its own key: one charge, whatever it was.
    again, _ = await gateway.send(account, replace(one, gateway_object_id=None))
    assert again == TAKEN
    assert len(charges(knobs, one)) == 1
    knobs.knobs(search_lag_seconds=0)
    assert (await gateway.look(account, one))[0] == TAKEN


@pytest.mark.parametrize(("name", "charged"), [("withhold_before", 0), ("withhold_after", 1)])
async def test_silence_ends_nothing(gateway, account, knobs, name, charged):
    fault(knobs, "sale", name, hold_seconds=30)
    one = new_attempt(gateway)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await gateway.send(account, one)
    assert len(charges(knobs, one)) == charged
    knobs.control("DELETE", "/_knobs")
    assert (await gateway.send(account, one))[0] == TAKEN
    assert len(charges(knobs, one)) == 1


async def test_codes_of_the_key(gateway, account, knobs):
    one, answer, _ = await sold(gateway, account)
    assert answer == TAKEN
    changed = {**one.parameters["sale"], "amount": "21.00"}
    another = replace(one, parameters={"sale": changed}, gateway_object_id=None)
    assert (await gateway.send(account, another))[0] == Unknown("idempotency_mismatch")
    fault(knobs, "sale", "error_500_saved")
    two, answer, _ = await sold(gateway, account)
    assert answer == BROKEN
    assert (await gateway.send(account, two))[0] == Unknown("gateway_error_under_key")
    assert charges(knobs, two) == []
    fault(knobs, "sale", "delay", delay_ms=1500)
    three = new_attempt(gateway)
    slow = asyncio.create_task(gateway.send(account, three))
    for _ in range(250):
        if knobs.control("GET", "/_knobs")["rules"][0].get("hits", 0):
            break
        await asyncio.sleep(0.02)
    assert (await gateway.send(account, three))[0] == Unknown("in_flight_at_gateway")
    assert (await slow)[0] == TAKEN
    assert len(charges(knobs, three)) == 1
    bad = new_attempt(gateway)
    bad = replace(bad, parameters={"sale": {**bad.parameters["sale"], "amount": "x"}})
    assert (await gateway.send(account, bad))[0] == Declined("config_error", "81503", False)
    assert (await gateway.send(account, bad))[0] == Unknown("failed_under_key")
    knobs.knobs(api_request_keys=False)
    _, answer, _ = await sold(gateway, account)
    assert answer == Declined("config_error", "915231", object_open=False)


async def test_an_empty_search_proves_nothing(gateway, account, knobs):
    never = new_attempt(gateway)
    assert (await gateway.look(account, never))[0] == NotShown()
    knobs.knobs(search_lag_seconds=3600)
    one, answer, _ = await sold(gateway, account)
    assert answer == TAKEN
    assert (await gateway.look(account, replace(one, gateway_object_id=None)))[0] == NotShown()
    assert (await gateway.look(account, one))[0] == TAKEN
    canceled = await gateway.cancel(account, replace(one, gateway_object_id=None))
    assert (canceled[0], len(charges(knobs, one))) == (NotShown(), 1)
    gone = replace(one, gateway_object_id="nothing")
    assert (await gateway.look(account, gone))[0] == Unknown("not_found")


@pytest.mark.parametrize(
    "fault_name", ["error_500_before", "error_429", "drop_before", "malformed", "error_503"]
)
async def test_a_look_that_fails_learns_nothing(gateway, account, knobs, fault_name):
    one, _, _ = await sold(gateway, account)
    knobs.knobs({"match": {"operation": "transactions.*"}, "fault": fault_name})
    assert isinstance((await gateway.look(account, one))[0], Unknown)
    unseen = replace(one, gateway_object_id=None)
    assert isinstance((await gateway.look(account, unseen))[0], Unknown)
    assert isinstance((await gateway.cancel(account, one))[0], Unknown | NotSent)
    knobs.control("DELETE", "/_knobs")
    assert len(charges(knobs, one)) == 1


async def test_an_open_outcome_is_pending_until_it_is_known(gateway, account, knobs):
    fault(knobs, "sale", "processing")
    one, answer, call = await sold(gateway, account)
    assert (answer, call.outcome) == (Pending(), "authorizing")
    assert (await gateway.cancel(account, one))[0] == Pending()
    settle(knobs, one.gateway_object_id)
    assert (await gateway.look(account, one))[0] == TAKEN


async def test_a_hold_is_captured_once_in_part_or_in_full(gateway, account, server):
    for amount_minor in (AMOUNT, PART):
        one, answer, _ = await sold(gateway, account, capture="manual")
        assert isinstance(answer, Authorized)
        assert (answer.amount_minor, answer.currency) == (AMOUNT, "EUR")
        assert answer.capture_before is not None
        assert charges(server, one) == []
        taken = Approved(amount_minor, "EUR", settled=False)
        assert (await gateway.capture(account, one, amount_minor))[0] == taken
        assert (await gateway.capture(account, one, 1))[0] == taken
        assert (await gateway.look(account, one))[0] == taken
        assert [charge["captured"] for charge in charges(server, one)] == [amount_minor]


async def test_a_capture_beyond_the_hold_is_refused_and_the_hold_stands(gateway, account):
    one, _, _ = await sold(gateway, account, capture="manual")
    answer, _ = await gateway.capture(account, one, AMOUNT + 1)
    assert isinstance(answer, Declined)
    assert (answer.decline, answer.object_open) == ("config_error", True)
    assert isinstance((await gateway.look(account, one))[0], Authorized)


async def test_what_is_canceled_is_voided_and_stays_so(gateway, account, server):
    for capture in ("manual", "automatic"):
        one, _, _ = await sold(gateway, account, capture=capture)
        assert (await gateway.cancel(account, one))[0] == Canceled()
        assert (await gateway.cancel(account, one))[0] == Canceled()
        assert (await gateway.look(account, one))[0] == Canceled()
        assert (await gateway.capture(account, one, AMOUNT))[0] == Canceled()
        assert charges(server, one) == []
    one, _, _ = await sold(gateway, account)
    settle(server, one.gateway_object_id)
    assert (await gateway.cancel(account, one))[0] == Approved(AMOUNT, "EUR")


async def test_a_hold_that_ran_out_says_so(gateway, account, server):
    one, answer, _ = await sold(gateway, account, capture="manual")
    assert isinstance(answer, Authorized)
    server.advance(8 * 24 * 3600)
    assert (await gateway.look(account, one))[0] == Canceled(expired=True)


async def test_another_object_of_ours_is_never_taken_for_the_attempts(gateway, account):
    one, _, _ = await sold(gateway, account)
    two, _, _ = await sold(gateway, account)
    crossed: Any = replace(one, gateway_object_id=two.gateway_object_id)
    assert (await gateway.look(account, crossed))[0] == Unknown("another_object")
    assert (await gateway.cancel(account, crossed))[0] == Unknown("another_object")
    assert (await gateway.capture(account, crossed, AMOUNT))[0] == Unknown("another_object")
    assert (await gateway.look(account, two))[0] == TAKEN


AUTHENTICATED = MerchantAccount("eur", three_d_secure=True)


@pytest.mark.parametrize(
    ("name", "passes"),
    [("visa-full-authentication", True), ("visa-attempts-non-participating", True),
     ("visa-not-enrolled", True), ("visa-failed-authentication", False),
     ("visa-failed-signature", False), ("visa-mpi-authenticate-error", False)],
)  # fmt: skip
async def test_authentication_is_what_the_server_says(gateway, account, server, name, passes):
    nonce = f"fake-three-d-secure-{name}-nonce"
    one, answer, _ = await sold(gateway, account, nonce, AUTHENTICATED)
    if passes:
        assert answer == TAKEN
    else:
        assert answer == Declined("authentication_failed", "three_d_secure", object_open=False)
        assert charges(server, one) == []


async def test_without_authentication_where_it_is_required_nothing_is_taken(
    gateway, account, server
):
    one, answer, _ = await sold(gateway, account, "fake-valid-nonce", AUTHENTICATED)
    assert answer == Declined("authentication_failed", "three_d_secure", object_open=False)
    assert charges(server, one) == []
    # Braintree let it pass all the same: the server-side look at the transaction does not.
    lax, _, _ = await sold(gateway, account)
    sale = lax.parameters["sale"]
    options = {**sale["options"], "three_d_secure": {"required": True}}
    strict = replace(lax, parameters={"sale": {**sale, "options": options}})
    assert (await gateway.look(account, strict))[0] == Declined(
        "authentication_failed", "three_d_secure_info", object_open=True
    )
    assert (await gateway.cancel(account, strict))[0] == Canceled()


async def test_keys_that_are_refused_or_missing_send_nothing(gateway_with, account, server):
    stale = f"{MERCHANT}:{PUBLIC_KEY}:another_private_key"
    wrong = gateway_with(Keys(stale))
    one, answer, call = await sold(wrong, account)
    assert (answer, call.http_status) == (NotSent("credentials_refused"), 401)
    assert charges(server, one) == []
    none = gateway_with(Keys())
    assert (await sold(none, account))[1] == NotSent("credentials_unreadable")
    malformed = gateway_with(Keys("not of this form"))
    assert (await sold(malformed, account))[1] == NotSent("credentials_unreadable")
    rotated = gateway_with(Keys(KEYS, stale))
    assert (await sold(rotated, account))[1] == NotSent("credentials_refused")
    assert (await sold(rotated, account))[1] == TAKEN
    assert EUR.merchant_account_id == "eur"


async def test_where_nobody_listens_nothing_was_sent(gateway):
    _, answer, _ = await sold(gateway, account_at("http://127.0.0.1:9"))
    assert answer == NotSent("not_reached")
