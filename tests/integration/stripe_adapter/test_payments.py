"""The Stripe adapter against the stand-in: what each thing that can happen is answered as."""

import asyncio

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from strongroom.clock import SystemClock
from strongroom.gateways.port import Account, Prepared
from strongroom.gateways.stripe.client import StripeGateway
from strongroom.gateways.stripe.connections import Connections, CredentialsUnreadable
from strongroom.payments.states import (
    ActionRequired,
    Answer,
    Approved,
    Canceled,
    Declined,
    Mismatched,
    NotSent,
    Pending,
    Unknown,
)
from strongroom.vault.errors import KmsUnavailable
from tests.integration.stripe_adapter.asking import (
    APPROVED,
    BROKEN,
    LOST,
    Keys,
    charges,
    fault,
    new_attempt,
    prepared,
    until_struck,
)
from tests.sandbox.conftest import SECRET_KEY
from tests.unit.examples import AMOUNT

REAL = "real0123456789"

SPOILT: list[tuple[str, str, Answer]] = [
    ("create", "drop_before", NotSent("connection_lost")),
    ("create", "drop_after", NotSent("connection_lost")),
    ("create", "error_500_before", NotSent("gateway_error", fresh_key=True)),
    ("create", "error_500_saved", NotSent("gateway_error", fresh_key=True)),
    ("create", "error_500_after", NotSent("gateway_error", fresh_key=True)),
    ("create", "error_503", NotSent("gateway_error", fresh_key=True)),
    ("create", "error_429", NotSent("rate_limited")),
    ("create", "malformed", NotSent("gateway_error")),
    ("create", "wrong_amount", Mismatched(AMOUNT + 1, "EUR")),
    ("create", "wrong_currency", Mismatched(AMOUNT, "USD")),
    ("confirm", "drop_before", LOST),
    ("confirm", "drop_after", LOST),
    ("confirm", "error_500_before", BROKEN),
    ("confirm", "error_500_saved", BROKEN),
    ("confirm", "error_500_after", BROKEN),
    ("confirm", "error_503", BROKEN),
    ("confirm", "error_429", NotSent("rate_limited")),
    ("confirm", "malformed", BROKEN),
    ("confirm", "wrong_amount", Mismatched(AMOUNT + 1, "EUR")),
    ("confirm", "wrong_currency", Mismatched(AMOUNT, "USD")),
    ("confirm", "processing", Pending()),
    ("retrieve", "drop_before", LOST),
    ("retrieve", "drop_after", LOST),
    ("retrieve", "error_500_before", BROKEN),
    ("retrieve", "error_503", BROKEN),
    ("retrieve", "error_429", Unknown("rate_limited")),
    ("retrieve", "malformed", BROKEN),
    ("retrieve", "wrong_amount", Mismatched(AMOUNT + 1, "EUR")),
    ("cancel", "drop_before", LOST),
    ("cancel", "drop_after", LOST),
    ("cancel", "error_500_before", BROKEN),
    ("cancel", "error_500_saved", BROKEN),
    ("cancel", "error_500_after", BROKEN),
    ("cancel", "error_429", NotSent("rate_limited")),
    ("cancel", "malformed", BROKEN),
]


@pytest.mark.parametrize(("operation", "what", "expected"), SPOILT)
async def test_what_goes_wrong(gateway, account, knobs, operation, what, expected):
    calls = {"confirm": gateway.send, "retrieve": gateway.look, "cancel": gateway.cancel}
    if operation == "create":
        one = new_attempt(gateway)
        fault(knobs, operation, what)
        answer, call = await gateway.prepare(account, one)
    else:
        one = await prepared(gateway, account)
        fault(knobs, operation, what)
        answer, call = await calls[operation](account, one)
    assert answer == expected
    assert call.operation == operation
    assert call.outcome


@pytest.mark.parametrize(
    ("what", "truth", "charged"),
    [
        ("drop_before", NotSent("not_confirmed_yet"), 0),
        ("error_500_before", NotSent("not_confirmed_yet"), 0),
        ("error_500_saved", NotSent("not_confirmed_yet"), 0),
        ("drop_after", APPROVED, 1),
        ("error_500_after", APPROVED, 1),
        ("malformed", APPROVED, 1),
    ],
)
async def test_a_look_tells_the_truth_after_a_confirm(
    gateway, account, knobs, what, truth, charged
):
    one = await prepared(gateway, account)
    fault(knobs, "confirm", what)
    await gateway.send(account, one)
    assert (await gateway.look(account, one))[0] == truth
    assert charges(knobs, one) == charged


@pytest.mark.parametrize(("what", "charged"), [("withhold_before", 0), ("withhold_after", 1)])
async def test_no_answer_in_time(gateway, account, knobs, what, charged):
    one = await prepared(gateway, account)
    fault(knobs, "confirm", what, hold_seconds=5)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(gateway.send(account, one), 0.3)
    truth = APPROVED if charged else NotSent("not_confirmed_yet")
    assert (await gateway.look(account, one))[0] == truth
    assert charges(knobs, one) == charged


async def test_an_object_made_unheard_is_found_under_the_same_key(gateway, account, knobs):
    one = new_attempt(gateway)
    fault(knobs, "create", "drop_after")
    await gateway.prepare(account, one)
    first, _ = await gateway.prepare(account, one)
    again, _ = await gateway.prepare(account, one)
    assert isinstance(first, Prepared)
    assert first == again


async def test_a_confirm_under_the_same_key_charges_once(gateway, account, server):
    one = await prepared(gateway, account)
    for _ in range(3):
        assert (await gateway.send(account, one))[0] == APPROVED
    assert charges(server, one) == 1


@pytest.mark.parametrize(
    ("card", "decline", "raw"),
    [
        ("pm_card_visa_chargeDeclined", "generic_decline", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds",
         "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedLostCard", "lost_stolen", "lost_card"),
        ("pm_card_visa_chargeDeclinedStolenCard", "lost_stolen", "stolen_card"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc"),
        ("pm_card_chargeDeclinedProcessingError", "try_again", "processing_error"),
        ("pm_card_visa_chargeDeclinedVelocityLimitExceeded", "limit_exceeded",
         "card_velocity_exceeded"),
        ("pm_card_radarBlock", "fraud", "fraudulent"),
    ],
)  # fmt: skip
async def test_declines(gateway, account, server, card, decline, raw):
    one = await prepared(gateway, account, token=card)
    for ask in (gateway.send, gateway.look):
        answer, _ = await ask(account, one)
        assert isinstance(answer, Declined)
        assert (answer.decline, answer.raw_code, answer.object_open) == (decline, raw, True)
    assert (await gateway.cancel(account, one))[0] == Canceled()
    assert charges(server, one) == 0


async def test_an_action_is_required(gateway, account, server):
    one = await prepared(gateway, account, token="pm_card_authenticationRequired")
    for call in (gateway.send, gateway.look):
        answer, _ = await call(account, one)
        assert isinstance(answer, ActionRequired)
        assert answer.next_action["type"] == "redirect_to_url"
        assert answer.next_action["url"].startswith("http")
    assert (await gateway.cancel(account, one))[0] == Canceled()
    assert charges(server, one) == 0


async def test_cancel_after_success_is_the_success(gateway, account, server):
    one = await prepared(gateway, account)
    await gateway.send(account, one)
    assert (await gateway.cancel(account, one))[0] == APPROVED
    assert charges(server, one) == 1


async def test_confirm_after_cancel_is_the_cancel(gateway, account, server):
    one = await prepared(gateway, account)
    assert (await gateway.cancel(account, one))[0] == Canceled()
    assert (await gateway.send(account, one))[0] == Canceled()
    assert (await gateway.look(account, one))[0] == Canceled()
    assert charges(server, one) == 0


async def test_a_token_that_is_not_there(gateway, account):
    answer, _ = await gateway.prepare(account, new_attempt(gateway, "pm_nothing"))
    assert answer == Declined("invalid_instrument", "resource_missing", object_open=False)


async def test_a_key_that_stands_for_other_parameters(gateway, account):
    one = await prepared(gateway, account)
    other = replace(new_attempt(gateway), gateway_key=one.gateway_key)
    assert (await gateway.prepare(account, other))[0] == Unknown("idempotency_mismatch")


async def test_a_key_that_is_on_its_way(gateway, account, knobs):
    one = new_attempt(gateway)
    fault(knobs, "create", "delay", delay_ms=2000)
    first = asyncio.create_task(gateway.prepare(account, one))
    await until_struck(knobs)
    assert (await gateway.prepare(account, one))[0] == NotSent("in_flight_at_gateway")
    assert isinstance((await first)[0], Prepared)
    two = await prepared(gateway, account)
    fault(knobs, "confirm", "delay", delay_ms=2000)
    sent = asyncio.create_task(gateway.send(account, two))
    await until_struck(knobs)
    assert (await gateway.send(account, two))[0] == Unknown("in_flight_at_gateway")
    assert (await sent)[0] == APPROVED


async def test_an_object_that_is_not_there_proves_nothing(gateway, account):
    gone = replace(new_attempt(gateway), gateway_object_id="pi_gone")
    assert isinstance((await gateway.look(account, gone))[0], Unknown)
    assert (await gateway.cancel(account, gone))[0] == Unknown("cancel_refused")
    none = new_attempt(gateway)
    assert (await gateway.look(account, none))[0] == Unknown("no_object_id")


@pytest.mark.parametrize("what", ["wrong", "missing"])
async def test_credentials_that_do_not_work(gateway, gateway_with, account, what):
    bad = gateway_with(Keys("sk_test_wrong0123456789") if what == "wrong" else Keys())
    why = "credentials_refused" if what == "wrong" else "credentials_unreadable"
    one = await prepared(gateway, account)
    assert (await bad.prepare(account, new_attempt(gateway)))[0] == NotSent(why)
    assert (await bad.send(account, one))[0] == NotSent(why)
    assert (await bad.look(account, one))[0] == Unknown(why)
    assert (await bad.cancel(account, one))[0] == NotSent(why)


async def test_nobody_listens(gateway, account, unused_tcp_port):
    away = Account(**{name: getattr(account, name) for name in account.__struct_fields__}
                   | {"base_url": f"http://127.0.0.1:{unused_tcp_port}"})  # fmt: skip
    one = await prepared(gateway, account)
    assert (await gateway.prepare(away, new_attempt(gateway)))[0] == NotSent("not_reached")
    assert (await gateway.send(away, one))[0] == NotSent("not_reached")
    assert (await gateway.look(away, one))[0] == Unknown("not_reached")


@pytest.mark.parametrize(
    ("amount", "currency", "sent"),
    [(500, "JPY", 500), (100, "ISK", 10000), (5120, "KWD", 5120), (50_000, "MGA", 500)],
)
async def test_amounts_come_back_as_they_went(gateway, account, server, amount, currency, sent):
    one = await prepared(gateway, account, amount_minor=amount, currency=currency)
    assert one.parameters["create"]["amount"] == sent
    assert (await gateway.send(account, one))[0] == Approved(amount, currency)
    assert charges(server, one) == 1


async def test_an_answer_about_another_object_is_not_believed(gateway, account):
    one, other = await prepared(gateway, account), await prepared(gateway, account)
    mixed = replace(one, gateway_object_id=other.gateway_object_id)
    assert (await gateway.look(account, mixed))[0] == NotSent("not_confirmed_yet")
    # Asked under the first one's key, the gateway repeats the first one's answer.
    await gateway.send(account, one)
    assert (await gateway.send(account, mixed))[0] == Unknown("idempotency_mismatch")


# Two versions of a key.


async def test_a_refused_key_gives_way_to_the_version_before(gateway_with, account, server):
    """The new key was entered before it works at the gateway."""
    keys = Keys(SECRET_KEY, "sk_test_notYet0123456789")
    gateway = gateway_with(keys)
    refused = NotSent("credentials_refused")
    assert (await gateway.prepare(account, new_attempt(gateway)))[0] == refused
    for _ in range(3):  # and that one is not tried again while the other is good
        assert isinstance((await gateway.prepare(account, new_attempt(gateway)))[0], Prepared)
    # Now it works, and the other does not any more.
    keys.held = {1: "sk_test_gone0123456789", 2: SECRET_KEY}
    gateway = gateway_with(keys)
    for _ in range(3):
        assert isinstance((await gateway.prepare(account, new_attempt(gateway)))[0], Prepared)


async def test_two_refused_keys_are_tried_in_turn_and_said_once(gateway_with, account):
    gateway = gateway_with(Keys("sk_test_oneWrong0123456789", "sk_test_otherWrong0123456789"))
    with capture_logs() as lines:
        for _ in range(4):
            answer, call = await gateway.prepare(account, new_attempt(gateway))
            assert (answer, call.http_status) == (NotSent("credentials_refused"), 401)
    assert [line["event"] for line in lines] == ["credentials_refused"]
    assert "sk_test_" not in str(lines)


async def test_a_version_that_cannot_be_opened_gives_way_too(gateway_with, account):
    class Locked(Keys):
        async def open(self, slot, version):
            if version == 2:
                raise KmsUnavailable
            return await super().open(slot, version)

    gateway = gateway_with(Locked(SECRET_KEY, "sk_test_locked0123456789"))
    assert isinstance((await gateway.prepare(account, new_attempt(gateway)))[0], Prepared)


async def test_a_retired_key_is_not_used_again(gateway_with, account):
    keys = Keys(SECRET_KEY)
    gateway = gateway_with(keys)
    assert isinstance((await gateway.prepare(account, new_attempt(gateway)))[0], Prepared)
    keys.held = {2: "sk_test_wrong0123456789"}
    answer, _ = await gateway.prepare(account, new_attempt(gateway))
    assert answer == NotSent("credentials_refused")
    keys.held = {}
    answer, _ = await gateway.prepare(account, new_attempt(gateway))
    assert answer == NotSent("credentials_unreadable")


async def test_a_key_that_lacks_a_right_gives_way_too(gateway_with, answering):
    """A restricted key: Stripe answers 403, and has done nothing."""
    gateway = gateway_with(Keys("sk_test_full0123456789", "rk_test_restricted0123456789"))
    answering.will_say({"error": {"type": "invalid_request_error"}}, status=403)
    with capture_logs() as lines:
        for _ in range(2):
            answer, call = await gateway.prepare(answering.account(), new_attempt(gateway))
            assert (answer, call.http_status) == (NotSent("credentials_refused"), 403)
    used = ["rk_test_restricted0123456789", "sk_test_full0123456789"]
    assert answering.keys == [f"Bearer {key}" for key in used]
    assert [line["event"] for line in lines] == ["credentials_refused"]


# Where a key may go.


@pytest.mark.parametrize(
    "key",
    ["sk_live_" + REAL, "rk_live_" + REAL, "whsec_0123456789", "anything0123456789"],
)
async def test_who_edits_an_account_is_not_sent_its_live_key(gateway_with, answering, key):
    """Whoever can write the table of accounts can name any server as a stand-in."""
    gateway = gateway_with(Keys(key))
    answering.will_say({})
    with capture_logs() as lines:
        for _ in range(2):
            answer, call = await gateway.prepare(answering.account(), new_attempt(gateway))
            assert answer == NotSent("credentials_unreadable")
            assert call.http_status is None
    assert answering.asked == []
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("credentials_misplaced", "error")
    ]
    assert key not in str(lines)


async def test_in_live_mode_no_key_goes_to_a_stand_in(answering):
    gateway = StripeGateway(
        SystemClock(), Keys("sk_test_any0123456789"), "https://shop.example/", mode="live"
    )
    answering.will_say({})
    answer, _ = await gateway.prepare(answering.account(), new_attempt(gateway))
    assert answer == NotSent("credentials_unreadable")
    assert answering.asked == []
    await gateway.close()


@pytest.mark.parametrize(
    ("environment", "key", "goes"),
    [
        ("live", "sk_live_" + REAL, True),
        ("live", "rk_live_" + REAL, True),
        ("live", "sk_test_any0123456789", False),
        ("sandbox", "sk_test_any0123456789", True),
        ("sandbox", "sk_live_" + REAL, False),
    ],
)
async def test_other_accounts_keys_go_to_stripe_alone(account, environment, key, goes):
    """Whatever address stands in their row; looked at where the client is made: no call leaves."""
    connections = Connections(SystemClock(), Keys(key), "live")
    edited = replace(account, environment=environment)
    if goes:
        _, client = await connections._client(edited)
        assert client._requestor._options.base_addresses["api"] == "https://api.stripe.com"
    else:
        with pytest.raises(CredentialsUnreadable):
            await connections._client(edited)
    await connections.close()
