"""The stand-in's webhooks: signed as the SDK checks, in the provider's shape, tried again."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import stripe

from tests.sandbox.conftest import RunningStripe

SECRET = "whsec_of_the_receiver"
NEXT_SECRET = "whsec_of_the_receiver_soon"
SECONDS_MAX = 60.0


class Receiver:
    """An endpoint that keeps what it is sent, and answers as it is told."""

    def __init__(self) -> None:
        self.status = 200
        self.got: list[tuple[bytes, str]] = []
        receiver = self

        class Post(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((body, self.headers["Stripe-Signature"]))
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Post)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hooks"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def genuine(self, secret: str = SECRET) -> list[Any]:
        """The events whose signature is good, as the SDK makes them."""
        found = []
        for body, signature in list(self.got):
            try:
                found.append(stripe.Webhook.construct_event(body, signature, secret))
            except stripe.SignatureVerificationError:
                continue
        return found

    def until(self, *kinds: str) -> list[Any]:
        deadline = time.monotonic() + SECONDS_MAX
        while True:
            events = self.genuine()
            if set(kinds) <= {event.type for event in events}:
                return events
            assert time.monotonic() < deadline, [event.type for event in events]
            time.sleep(0.02)


@pytest.fixture
def receiver(stand_in: RunningStripe) -> Iterator[Receiver]:
    made = Receiver()
    try:
        yield made
    finally:
        stand_in.control("DELETE", "/_webhooks")
        made.server.shutdown()
        made.server.server_close()


def register(stand_in: RunningStripe, receiver: Receiver, **more: Any) -> None:
    endpoint = {"url": receiver.url, "secrets": [SECRET]} | more.pop("endpoint", {})
    stand_in.control("PUT", "/_webhooks", {"endpoints": [endpoint], **more})


def paid(stand_in: RunningStripe, **more: Any) -> stripe.PaymentIntent:
    asked: Any = {
        "amount": 1000, "currency": "eur", "payment_method": "pm_card_visa", "confirm": True,
        "allowed_payment_method_types": ["card"], "metadata": {"order": "7"}, **more,
    }  # fmt: skip
    return stand_in.client().v1.payment_intents.create(asked)


def test_each_change_is_told_with_its_object(stand_in: RunningStripe, receiver: Receiver) -> None:
    register(stand_in, receiver)
    intent = paid(stand_in)
    events = receiver.until(
        "payment_intent.created", "payment_intent.succeeded", "charge.succeeded"
    )
    assert len({event.id for event in events}) == len(events) == 3
    [told] = [event for event in events if event.type == "payment_intent.succeeded"]
    assert (told.data.object.id, told.data.object.status) == (intent.id, "succeeded")
    assert told.data.object.metadata.order == "7"
    assert (told.object, told.livemode) == ("event", False)


def test_holds_refunds_and_declines_are_told(stand_in: RunningStripe, receiver: Receiver) -> None:
    register(stand_in, receiver)
    client = stand_in.client()
    held = paid(stand_in, capture_method="manual")
    client.v1.payment_intents.capture(held.id)
    client.v1.refunds.create({"payment_intent": held.id, "amount": 300})
    with pytest.raises(stripe.CardError):
        paid(stand_in, payment_method="pm_card_chargeDeclined")
    receiver.until(
        "payment_intent.amount_capturable_updated", "charge.captured", "refund.created",
        "charge.refunded", "payment_intent.payment_failed", "charge.failed",
    )  # fmt: skip


def test_only_enabled_events_are_sent(stand_in: RunningStripe, receiver: Receiver) -> None:
    register(stand_in, receiver, endpoint={"enabled_events": ["charge.*"]})
    paid(stand_in)
    receiver.until("charge.succeeded")
    time.sleep(0.3)
    assert {event.type for event in receiver.genuine()} == {"charge.succeeded"}


def test_what_is_not_answered_well_comes_again(stand_in: RunningStripe, receiver: Receiver) -> None:
    receiver.status = 500
    register(stand_in, receiver, endpoint={"enabled_events": ["charge.*"]})
    paid(stand_in)
    receiver.until("charge.succeeded")
    receiver.status = 200
    deadline = time.monotonic() + SECONDS_MAX
    while len(receiver.got) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len({event.id for event in receiver.genuine()}) == 1


def test_both_secrets_sign_during_a_rotation(stand_in: RunningStripe, receiver: Receiver) -> None:
    register(stand_in, receiver, endpoint={"secrets": [NEXT_SECRET, SECRET]})
    paid(stand_in)
    receiver.until("payment_intent.created", "payment_intent.succeeded", "charge.succeeded")
    assert len(receiver.genuine(SECRET)) == len(receiver.genuine(NEXT_SECRET)) > 0


def test_faults_double_and_forge(stand_in: RunningStripe, receiver: Receiver) -> None:
    register(
        stand_in, receiver, endpoint={"enabled_events": ["charge.*"]},
        faults={"duplicate": 1.0, "forge": 1.0},
    )  # fmt: skip
    paid(stand_in)
    deadline = time.monotonic() + SECONDS_MAX
    while len(receiver.got) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(receiver.genuine()) == 2
    assert len({json.loads(body)["id"] for body, _ in receiver.got}) == 1


@pytest.mark.parametrize(
    "url", ["http://example.com/hooks", "https://127.0.0.1/x", "http://127.0.0.1.example/"]
)
def test_nothing_is_sent_beyond_loopback(stand_in: RunningStripe, url: str) -> None:
    import urllib.error

    with pytest.raises(urllib.error.HTTPError):
        stand_in.control("PUT", "/_webhooks", {"endpoints": [{"url": url}]})


def test_disputes_and_payouts_are_told(stand_in, pay, receiver):
    register(stand_in, receiver)
    intent = stand_in.client().v1.payment_intents.create(pay("pm_card_visa", currency="nok"))
    made = stand_in.control("POST", "/_disputes", {"payment_intent": intent.id})
    receiver.until("charge.dispute.created", "charge.dispute.funds_withdrawn")
    stand_in.control("POST", "/_disputes", {"dispute": made["id"], "status": "won"})
    told = receiver.until("charge.dispute.closed", "charge.dispute.funds_reinstated")
    assert {one.data.object.id for one in told if "dispute" in one.type} == {made["id"]}
    paying = {"currency": "nok", "arrives_days": 0, "fails_days": 0}
    stand_in.control("POST", "/_payouts", paying)
    stand_in.advance(1)
    receiver.until("payout.created", "payout.updated", "payout.paid", "payout.failed")
