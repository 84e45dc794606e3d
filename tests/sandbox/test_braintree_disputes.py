"""Disputes and disbursements: opened by knobs, moved by the clock, read by the official SDK."""

import uuid
from datetime import timedelta

import braintree
import pytest
from braintree.exceptions.not_found_error import NotFoundError

from tests.sandbox.braintree_server import codes, gate, own_braintree, shared_braintree

__all__ = ["gate", "own_braintree", "shared_braintree"]

DAY = 24 * 3600


def opened(server, **more):
    sold = server.settled(order_id=uuid.uuid4().hex)
    made = server.control("POST", "/_disputes", {"transaction": sold.id, **more})
    return sold, made["id"]


def test_a_dispute_shows_what_it_is_about(gate):
    sold, dispute_id = opened(gate, amount=400, reason="product_not_received")
    found = gate.gateway().dispute.find(dispute_id)
    assert (found.status, found.kind, found.reason) == (
        "open",
        "chargeback",
        "product_not_received",
    )
    assert (str(found.amount_disputed), found.currency_iso_code) == ("4.00", "USD")
    assert (found.transaction.id, found.transaction.order_id) == (sold.id, sold.order_id)
    assert (found.reply_by_date - found.received_date).days == 7
    [named] = gate.gateway().transaction.find(sold.id).disputes
    assert named.id == dispute_id


@pytest.mark.parametrize(
    ("text", "end"), [("compelling_evidence", "won"), ("losing_evidence", "lost")]
)
def test_evidence_decides(own_braintree, text, end):
    disputes = own_braintree.gateway().dispute
    _, dispute_id = opened(own_braintree)
    assert codes(disputes.finalize(dispute_id)) == ["95726"]
    taken_back = disputes.add_text_evidence(dispute_id, "a mistake").evidence
    assert disputes.remove_evidence(dispute_id, taken_back.id).is_success
    given = {"content": text, "category": "GENERAL", "sequence_number": 1}
    assert disputes.add_text_evidence(dispute_id, given).evidence.comments == text
    assert disputes.finalize(dispute_id).is_success
    found = disputes.find(dispute_id)
    assert (found.status, [each.comments for each in found.evidence]) == ("disputed", [text])
    assert codes(disputes.add_text_evidence(dispute_id, "more")) == ["95701"]
    assert codes(disputes.accept(dispute_id)) == ["95704"]
    assert codes(disputes.finalize(dispute_id)) == ["95705"]
    own_braintree.advance(121)
    decided = disputes.find(dispute_id)
    assert decided.status == end
    assert str(decided.amount_won) == ("10.00" if end == "won" else "0.00")


def test_a_dispute_that_nobody_answers_expires_and_one_can_be_accepted(own_braintree):
    disputes = own_braintree.gateway().dispute
    _, forgotten = opened(own_braintree)
    _, accepted = opened(own_braintree)
    assert disputes.accept(accepted).is_success
    own_braintree.advance(7 * DAY + 1)
    assert disputes.find(forgotten).status == "expired"
    assert disputes.find(accepted).status == "accepted"
    assert codes(disputes.add_text_evidence(forgotten, "too late")) == ["95701"]


def test_a_search_finds_disputes_page_by_page(own_braintree):
    sold = own_braintree.settled()
    ids = {
        own_braintree.control("POST", "/_disputes", {"transaction": sold.id, "amount": 1})["id"]
        for _ in range(60)
    }
    _, other = opened(own_braintree)
    disputes = own_braintree.gateway().dispute
    of_sale = braintree.DisputeSearch.transaction_id == sold.id
    assert {each.id for each in disputes.search(of_sale).disputes} == ids
    open_ones = braintree.DisputeSearch.status.in_list("open")
    assert {each.id for each in disputes.search(open_ones).disputes} == ids | {other}
    own_braintree.control("POST", "/_disputes", {"dispute": other, "status": "won"})
    assert {each.id for each in disputes.search(open_ones).disputes} == ids
    received = braintree.DisputeSearch.received_date
    today = disputes.find(other).received_date
    later = today + timedelta(days=1)
    for days, number in ((received >= today, 61), (received.between(today, today), 61),
                         (received >= later, 0), (received <= later, 61)):  # fmt: skip
        assert len(list(disputes.search(days).disputes)) == number


def test_what_took_nothing_cannot_be_disputed_and_nobody_finds_what_is_not_there(gate):
    held = gate.sold(order_id=uuid.uuid4().hex)
    with pytest.raises(Exception, match="400"):
        gate.control("POST", "/_disputes", {"transaction": held.id})
    for call in (gate.gateway().dispute.find, gate.gateway().dispute.accept):
        with pytest.raises(NotFoundError):
            call("nothing1")


def test_a_disbursement_pays_out_what_is_settled_less_refunds(own_braintree):
    transactions = own_braintree.gateway().transaction
    first, second = own_braintree.settled(order_id="1"), own_braintree.settled(order_id="2")
    own_braintree.settled(order_id="3", merchant_account_id="eur")
    refund = transactions.refund(first.id, "4.00").transaction
    own_braintree.gateway().testing.settle_transaction(refund.id)
    paid = own_braintree.control("POST", "/_disbursements", {"merchant_account": "usd"})
    assert paid["amount"] == 1600
    assert paid["transactions"] == [first.id, second.id, refund.id]
    found = transactions.find(first.id)
    assert found.is_disbursed
    assert str(found.disbursement_details.settlement_amount) == "10.00"
    with pytest.raises(Exception, match="400"):
        own_braintree.control("POST", "/_disbursements", {"merchant_account": "usd"})


def test_a_disbursement_comes_by_the_clock_and_may_be_returned(own_braintree):
    sold = own_braintree.sold(submit=True)
    own_braintree.advance(3600)
    assert not own_braintree.gateway().transaction.find(sold.id).is_disbursed
    own_braintree.advance(DAY)
    found = own_braintree.gateway().transaction.find(sold.id)
    assert found.is_disbursed
    [paid] = own_braintree.control("GET", "/_ledger/disbursements")["data"]
    assert (paid["amount"], paid["transactions"]) == (1000, [sold.id])
    on_day = braintree.TransactionSearch.disbursement_date >= (
        found.disbursement_details.disbursement_date
    )
    assert [each.id for each in own_braintree.search(on_day)] == [sold.id]
    own_braintree.control("POST", "/_disbursements", {"disbursement": paid["id"]})
    assert own_braintree.gateway().transaction.find(sold.id).disbursement_details.success is False
    [returned] = own_braintree.control("GET", "/_ledger/disbursements")["data"]
    assert (returned["success"], returned["exception"]) == (False, "bank_rejected")
    assert own_braintree.control("POST", "/_disbursements", {})["amount"] == 1000
    assert own_braintree.gateway().transaction.find(sold.id).disbursement_details.success is True
