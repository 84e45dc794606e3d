"""From a hold to the merchant's bank and back: submit, void, refund, and what time brings."""

import pytest
from braintree.exceptions.not_found_error import NotFoundError

from tests.sandbox.braintree_server import codes, gate, own_braintree, shared_braintree

__all__ = ["gate", "own_braintree", "shared_braintree"]

DAY = 24 * 3600


def status(server, transaction_id):
    return server.gateway().transaction.find(transaction_id).status


def test_a_hold_is_taken_whole_or_in_part_but_never_beyond(gate):
    gateway = gate.gateway()
    whole, part, beyond = gate.sold(), gate.sold(), gate.sold()
    assert str(gateway.transaction.submit_for_settlement(whole.id).transaction.amount) == "10.00"
    taken = gateway.transaction.submit_for_settlement(part.id, "4.00").transaction
    assert (str(taken.amount), taken.status) == ("4.00", "submitted_for_settlement")
    assert [str(each.amount) for each in taken.status_history] == ["10.00", "4.00"]
    assert codes(gateway.transaction.submit_for_settlement(beyond.id, "10.01")) == ["91522"]
    assert status(gate, beyond.id) == "authorized"
    assert codes(gateway.transaction.submit_for_settlement(part.id)) == ["91507"]


def test_several_captures_of_one_hold_are_not_supported(gate):
    made = gate.sold()
    result = gate.gateway().transaction.submit_for_partial_settlement(made.id, "1.00")
    assert codes(result) == ["915102"]
    assert status(gate, made.id) == "authorized"


def test_a_void_takes_nothing_and_is_too_late_once_it_settles(own_braintree):
    gateway = own_braintree.gateway()
    held = own_braintree.sold(order_id="held")
    submitted = own_braintree.sold(submit=True, order_id="submitted")
    assert gateway.transaction.void(held.id).transaction.status == "voided"
    assert gateway.transaction.void(submitted.id).transaction.status == "voided"
    assert own_braintree.charges() == []
    assert codes(gateway.transaction.void(held.id)) == ["91504"]
    assert codes(gateway.transaction.submit_for_settlement(held.id)) == ["91507"]
    late = own_braintree.settled(order_id="late")
    assert codes(gateway.transaction.void(late.id)) == ["91504"]


def test_settlement_goes_by_the_clock(own_braintree):
    made = own_braintree.sold(submit=True)
    assert status(own_braintree, made.id) == "submitted_for_settlement"
    own_braintree.advance(31)
    assert status(own_braintree, made.id) == "settling"
    own_braintree.advance(31)
    found = own_braintree.gateway().transaction.find(made.id)
    assert [each.status for each in found.status_history] == [
        "authorized",
        "submitted_for_settlement",
        "settling",
        "settled",
    ]


def test_a_hold_that_nobody_takes_expires(own_braintree):
    made = own_braintree.sold()
    taken = own_braintree.sold()
    own_braintree.gateway().transaction.submit_for_settlement(taken.id)
    own_braintree.advance(7 * DAY - 10)
    assert status(own_braintree, made.id) == "authorized"
    own_braintree.advance(11)
    assert status(own_braintree, made.id) == "authorization_expired"
    assert codes(own_braintree.gateway().transaction.submit_for_settlement(made.id)) == ["91507"]
    assert status(own_braintree, taken.id) == "settled"


@pytest.mark.parametrize(
    ("amount", "after", "code"),
    [("4001.00", "settlement_declined", "4001"), ("4002.00", "settlement_pending", "4002")],
)
def test_settlement_can_fail(own_braintree, amount, after, code):
    made = own_braintree.sold(submit=True, amount=amount)
    own_braintree.advance(3600)
    found = own_braintree.gateway().transaction.find(made.id)
    assert (found.status, found.processor_settlement_response_code) == (after, code)
    taken = [each["id"] for each in own_braintree.charges()]
    assert (made.id in taken) == (after == "settlement_pending")


def test_only_what_is_settled_is_refunded_and_never_more_than_was_taken(gate):
    gateway = gate.gateway()
    fresh = gate.sold(submit=True)
    assert codes(gateway.transaction.refund(fresh.id)) == ["91506"]
    sold = gate.settled(order_id="for-refunds")
    first = gateway.transaction.refund(sold.id, {"amount": "4.00", "order_id": "first"}).transaction
    assert (first.type, first.status, str(first.amount)) == (
        "credit",
        "submitted_for_settlement",
        "4.00",
    )
    assert (first.refunded_transaction_id, first.order_id) == (sold.id, "first")
    assert codes(gateway.transaction.refund(sold.id, "6.01")) == ["91521"]
    second = gateway.transaction.refund(sold.id).transaction
    assert str(second.amount) == "6.00"
    assert codes(gateway.transaction.refund(sold.id)) == ["91512"]
    assert codes(gateway.transaction.refund(first.id)) == ["91505"]
    assert gateway.transaction.find(sold.id).refund_ids == [first.id, second.id]
    assert [each["amount"] for each in gate.refunds(transaction=sold.id)] == [400, 600]
    summary = gate.control("GET", "/_ledger/summary")
    assert summary["over_refunded"] == []
    assert summary["over_asked"] >= 2


def test_a_refund_that_fails_leaves_its_amount_to_be_refunded(gate):
    sold = gate.settled(order_id="back-again")
    refund = gate.gateway().transaction.refund(sold.id).transaction
    gate.control("POST", "/_settle", {"transaction": refund.id, "succeed": False})
    assert status(gate, refund.id) == "settlement_declined"
    assert gate.gateway().transaction.refund(sold.id).is_success


def test_a_reversal_voids_or_refunds(gate):
    gateway = gate.gateway()
    held, settled = gate.sold(order_id="reverse-1"), gate.settled(order_id="reverse-2")
    assert gateway.transaction.reverse(held.id).transaction.status == "voided"
    assert gateway.transaction.reverse(settled.id).transaction.refunded_transaction_id == settled.id


def test_what_nobody_made_is_not_found(gate):
    transactions = gate.gateway().transaction
    for call in (transactions.find, transactions.void, transactions.refund):
        with pytest.raises(NotFoundError):
            call("nothing1")


def test_the_vault_of_the_gateway(gate):
    gateway = gate.gateway()
    nonce = gate.nonce(like="fake-valid-mastercard-nonce")
    customer = gateway.customer.create({"payment_method_nonce": nonce}).customer
    [method] = customer.payment_methods
    assert (method.card_type, method.last_4) == ("MasterCard", "4444")
    again = gateway.payment_method.create(
        {"customer_id": customer.id, "payment_method_nonce": nonce}
    )
    assert codes(again) == ["91731"]
    assert gateway.payment_method.find(method.token).customer_id == customer.id
    assert (
        gate.sell(payment_method_token=method.token).transaction.customer_details.id == customer.id
    )
    assert gateway.payment_method.delete(method.token).is_success
    with pytest.raises(NotFoundError):
        gateway.payment_method.find(method.token)
    assert codes(gate.sell(payment_method_token=method.token)) == ["91518"]
    assert gateway.customer.delete(customer.id).is_success
    with pytest.raises(NotFoundError):
        gateway.customer.find(customer.id)


def test_a_card_is_saved_by_a_sale_or_refused_when_it_is_verified(gate):
    options = {"store_in_vault_on_success": True}
    sold = gate.sell(options=options).transaction
    assert gate.sell(payment_method_token=sold.credit_card_details.token).is_success
    lost = gate.sell(payment_method_nonce=gate.nonce(decline="2001"), options=options).transaction
    assert lost.credit_card_details.token is None
    result = gate.gateway().payment_method.create(
        {
            "customer_id": sold.customer_details.id,
            "payment_method_nonce": gate.nonce(decline="2001"),
            "options": {"verify_card": True},
        }
    )
    assert not result.is_success
    assert result.credit_card_verification.processor_response_code == "2001"
