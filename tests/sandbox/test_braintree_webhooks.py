"""Webhooks of Braintree's kind: the official SDK reads what is genuine, and refuses the rest."""

import http.server
import threading
import time
import uuid
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from braintree.exceptions.invalid_signature_error import InvalidSignatureError

from tests.sandbox.braintree_server import (
    PRIVATE_KEY,
    PUBLIC_KEY,
    gate,
    own_braintree,
    shared_braintree,
)

__all__ = ["gate", "own_braintree", "shared_braintree"]

WAIT_SECONDS_MAX = 60.0


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps what is posted; refuses the first `refusals`, and answers challenges."""

    def __init__(self, gateway) -> None:
        super().__init__(("127.0.0.1", 0), Receiving)
        self.heard: list[tuple[str, str]] = []
        self.refusals = 0
        self.gateway = gateway
        self.url = f"http://127.0.0.1:{self.server_address[1]}/hooks"

    def wait(self, count: int) -> list[tuple[str, str]]:
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while len(self.heard) < count:
            assert time.monotonic() < deadline, self.heard
            time.sleep(0.01)
        return list(self.heard)

    def parsed(self, count: int = 1):
        return [self.gateway.webhook_notification.parse(*one) for one in self.wait(count)]


class Receiving(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        fields = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if self.server.refusals > 0:
            self.server.refusals -= 1
            self._answer(500, b"")
            return
        self.server.heard.append((fields["bt_signature"][0], fields["bt_payload"][0]))
        self._answer(200, b"")

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)["bt_challenge"][0]
        self._answer(200, self.server.gateway.webhook_notification.verify(asked).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver(own_braintree) -> Iterator[Receiver]:
    server = Receiver(own_braintree.gateway())
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        own_braintree.control("PUT", "/_webhooks", {"endpoints": [{"url": server.url}]})
        yield server
    finally:
        own_braintree.control("DELETE", "/_webhooks")
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_check_arrives_and_is_read(own_braintree, receiver):
    own_braintree.control("POST", "/_webhooks/check", {})
    [told] = receiver.parsed()
    assert told.kind == "check"


def test_a_dispute_is_told_from_its_opening_to_its_end(own_braintree, receiver):
    sold = own_braintree.settled(order_id=uuid.uuid4().hex)
    made = own_braintree.control("POST", "/_disputes", {"transaction": sold.id})
    own_braintree.gateway().dispute.add_text_evidence(made["id"], "compelling_evidence")
    own_braintree.gateway().dispute.finalize(made["id"])
    receiver.wait(2)
    # Nobody asks for anything: time alone brings the decision, and it is told.
    own_braintree.advance(121)
    told = receiver.parsed(3)
    assert sorted(each.kind for each in told) == [
        "dispute_disputed",
        "dispute_opened",
        "dispute_won",
    ]
    assert {each.dispute.id for each in told} == {made["id"]}
    [won] = [each.dispute for each in told if each.kind == "dispute_won"]
    assert (won.transaction.id, str(won.amount_won)) == (sold.id, "10.00")


def test_disbursements_and_refunds_that_fail_are_told(own_braintree, receiver):
    sold = own_braintree.settled(order_id=uuid.uuid4().hex)
    paid = own_braintree.control("POST", "/_disbursements", {})
    own_braintree.control("POST", "/_disbursements", {"disbursement": paid["id"]})
    refund = own_braintree.gateway().transaction.refund(sold.id).transaction
    own_braintree.control("POST", "/_settle", {"transaction": refund.id, "succeed": False})
    told = {each.kind: each for each in receiver.parsed(4)}
    assert str(told["disbursement"].disbursement.amount) == "10.00"
    assert told["disbursement"].disbursement.transaction_ids == [sold.id]
    assert told["disbursement_exception"].disbursement.exception_message == "bank_rejected"
    assert told["transaction_disbursed"].transaction.id == sold.id
    assert told["refund_failed"].transaction.id == refund.id


def test_no_webhook_tells_of_a_card_that_is_settled(own_braintree, receiver):
    own_braintree.sold(submit=True)
    own_braintree.advance(3600)
    own_braintree.control("POST", "/_webhooks/check", {})
    assert [each.kind for each in receiver.parsed()] == ["check"]


def test_what_is_not_answered_is_sent_again(own_braintree, receiver):
    receiver.refusals = 2
    own_braintree.control("POST", "/_webhooks/check", {})
    assert receiver.parsed()[0].kind == "check"
    counts = own_braintree.control("GET", "/_webhooks")["counts"]
    assert (counts["sent"], counts["refused"], counts["answered_2xx"]) == (3, 2, 1)


def test_duplicates_and_forgeries_come_when_a_knob_says_so(own_braintree, receiver):
    faults = {"duplicate": 1.0, "forge": 1.0}
    endpoints = [{"url": receiver.url}]
    own_braintree.control("PUT", "/_webhooks", {"endpoints": endpoints, "faults": faults})
    own_braintree.control("POST", "/_webhooks/check", {})
    genuine = 0
    for one in receiver.wait(3):
        try:
            receiver.gateway.webhook_notification.parse(*one)
            genuine += 1
        except InvalidSignatureError:
            assert one[0].startswith(PUBLIC_KEY + "|")
    assert genuine == 2


def test_an_endpoint_hears_only_what_it_wants(own_braintree, receiver):
    endpoints = [{"url": receiver.url, "enabled_events": ["dispute_opened"]}]
    own_braintree.control("PUT", "/_webhooks", {"endpoints": endpoints})
    sold = own_braintree.settled()
    own_braintree.control("POST", "/_webhooks/check", {})
    own_braintree.control("POST", "/_disbursements", {})
    own_braintree.control("POST", "/_disputes", {"transaction": sold.id})
    assert [each.kind for each in receiver.parsed()] == ["dispute_opened"]


def test_two_keys_sign_while_one_takes_the_others_place(own_braintree, receiver):
    own_braintree.write_key("secondkey", "secondprivatekey", PUBLIC_KEY, PRIVATE_KEY)
    own_braintree.control("POST", "/_webhooks/check", {})
    assert receiver.parsed()[0].kind == "check"
    second = own_braintree.gateway(public="secondkey", private="secondprivatekey")
    assert second.webhook_notification.parse(*receiver.heard[0]).kind == "check"


def test_a_challenge_is_answered_by_who_has_the_key(own_braintree, receiver):
    asked = "20f9f8ed05f77439fe955c977e4c8a53"
    answer = own_braintree.control(
        "POST", "/_webhooks/challenge", {"url": receiver.url, "text": asked}
    )
    expected = own_braintree.gateway().webhook_notification.verify(asked)
    assert answer == {"status": 200, "text": expected}
