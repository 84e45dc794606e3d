"""The stand-in's disputes, driven by the official SDK: evidence, decisions, and what they cost."""

import urllib.error

import pytest
import stripe

DAY = 24 * 3600


def paid(stand_in, pay, method="pm_card_visa", **more):
    return stand_in.client().v1.payment_intents.create(pay(method, **more))


def disputed(stand_in, pay, **knob):
    intent = paid(stand_in, pay)
    made = stand_in.control("POST", "/_disputes", {"payment_intent": intent.id, **knob})
    return intent, stand_in.client().v1.disputes.retrieve(made["id"])


@pytest.mark.parametrize(
    ("card", "reason", "status", "withdrawn"),
    [
        ("pm_card_createDispute", "fraudulent", "needs_response", [-2000]),
        ("pm_card_createDisputeProductNotReceived", "product_not_received", "needs_response",
         [-2000]),
        ("pm_card_createDisputeInquiry", "fraudulent", "warning_needs_response", []),
    ],
)  # fmt: skip
def test_a_test_card_brings_its_dispute(stand_in, pay, card, reason, status, withdrawn):
    intent = paid(stand_in, pay, card)
    [found] = stand_in.client().v1.disputes.list({"payment_intent": intent.id}).data
    assert (found.reason, found.status, found.amount) == (reason, status, 2000)
    assert (found.charge, found.payment_intent) == (intent.latest_charge, intent.id)
    assert [one.amount for one in found.balance_transactions] == withdrawn
    assert found.evidence_details.due_by > found.created
    assert stand_in.client().v1.charges.retrieve(intent.latest_charge).disputed is True


def test_one_card_brings_two_that_share_the_amount(stand_in, pay):
    intent = paid(stand_in, pay, "pm_card_createMultipleDisputes")
    found = stand_in.client().v1.disputes.list({"charge": intent.latest_charge}).data
    assert [one.amount for one in found] == [1000, 1000]


@pytest.mark.parametrize(
    ("text", "ends", "moved"),
    [("winning_evidence", "won", [-2000, 2000]), ("losing_evidence", "lost", [-2000])],
)
def test_evidence_that_is_submitted_decides(stand_in, pay, text, ends, moved):
    stand_in.knobs(refund_settle_seconds=0)
    _, dispute = disputed(stand_in, pay)
    disputes = stand_in.client().v1.disputes
    staged = disputes.update(dispute.id, {"evidence": {"customer_name": "A"}, "submit": False})
    assert (staged.status, staged.evidence_details.submission_count) == ("needs_response", 0)
    assert staged.evidence_details.has_evidence is True
    # Without `submit` it goes to the bank.
    sent = disputes.update(dispute.id, {"evidence": {"uncategorized_text": text}})
    assert (sent.status, sent.evidence_details.submission_count) == ("under_review", 1)
    assert sent.evidence.customer_name == "A"
    decided = disputes.retrieve(dispute.id)
    assert decided.status == ends
    assert [one.amount for one in decided.balance_transactions] == moved
    with pytest.raises(stripe.InvalidRequestError):
        disputes.update(dispute.id, {"evidence": {"customer_name": "B"}, "submit": False})


def test_one_that_is_given_up_is_lost_once(stand_in, pay):
    _, dispute = disputed(stand_in, pay)
    disputes = stand_in.client().v1.disputes
    key = {"idempotency_key": f"close-{dispute.id}"}
    assert disputes.close(dispute.id, {}, key).status == "lost"
    assert disputes.close(dispute.id, {}, key).status == "lost"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        disputes.close(dispute.id)
    assert refused.value.http_status == 400


def test_the_deadline_that_passes_is_a_loss(stand_in, pay):
    _, dispute = disputed(stand_in, pay)
    stand_in.advance(6 * DAY)
    assert stand_in.client().v1.disputes.retrieve(dispute.id).status == "needs_response"
    stand_in.advance(DAY + 1)
    late = stand_in.client().v1.disputes.retrieve(dispute.id)
    assert (late.status, late.evidence_details.past_due) == ("lost", True)


def test_nothing_is_given_back_of_what_the_bank_has_taken(stand_in, pay):
    intent, dispute = disputed(stand_in, pay)
    client = stand_in.client()
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"payment_intent": intent.id})
    assert (refused.value.code, refused.value.http_status) == ("charge_disputed", 400)
    stand_in.control("POST", "/_disputes", {"dispute": dispute.id, "status": "won"})
    assert client.v1.refunds.create({"payment_intent": intent.id}).status == "succeeded"
    other, _ = disputed(stand_in, pay, status="warning_needs_response")
    assert client.v1.refunds.create({"payment_intent": other.id}).status == "succeeded"


@pytest.mark.parametrize(
    "parameters",
    [
        {"evidence": {"nonsense": "x"}},
        {"evidence": {"receipt": "file_1"}},
        {"evidence": {"customer_name": "x" * 20_001}},
        {"evidence": {"customer_name": "A"}, "submit": "maybe"},
        {"amount": 1},
    ],
)
def test_what_it_does_not_know_it_refuses(stand_in, pay, parameters):
    _, dispute = disputed(stand_in, pay)
    with pytest.raises(stripe.InvalidRequestError):
        stand_in.client().v1.disputes.update(dispute.id, parameters)
    assert stand_in.client().v1.disputes.retrieve(dispute.id).status == "needs_response"


def test_another_amount_and_currency_are_the_knobs_to_say(stand_in, pay):
    _, dispute = disputed(stand_in, pay, amount=2500, currency="gbp", reason="duplicate")
    assert (dispute.amount, dispute.currency, dispute.reason) == (2500, "gbp", "duplicate")
    with pytest.raises(urllib.error.HTTPError):
        stand_in.control("POST", "/_disputes", {"payment_intent": "pi_none"})


def test_disputes_outlive_a_kill(stand_in, pay):
    _, dispute = disputed(stand_in, pay)
    stand_in.kill()
    stand_in.start()
    assert stand_in.client().v1.disputes.retrieve(dispute.id).status == "needs_response"
    with pytest.raises(stripe.InvalidRequestError) as missing:
        stand_in.client().v1.disputes.retrieve("du_none")
    assert missing.value.http_status == 404


# Payouts.


def test_a_payout_goes_its_way_by_the_clock(stand_in, pay):
    intent = paid(stand_in, pay, currency="sek", amount=10_000)
    client = stand_in.client()
    back = client.v1.refunds.create({"payment_intent": intent.id, "amount": 1000})
    made = stand_in.control(
        "POST", "/_payouts", {"currency": "sek", "arrives_days": 2, "fails_days": 1}
    )
    payout = client.v1.payouts.retrieve(made["id"])
    assert (payout.status, payout.amount) == ("pending", 10_000 - 150 - 1000)
    items = client.v1.balance_transactions.list({"payout": payout.id}).data
    assert {(one.type, one.source): one.net for one in items} == {
        ("charge", intent.latest_charge): 9850,
        ("refund", back.id): -1000,
        ("payout", payout.id): -8850,
    }
    statuses = []
    for _ in range(3):
        stand_in.advance(DAY + 1)
        statuses.append(client.v1.payouts.retrieve(payout.id).status)
    assert statuses == ["in_transit", "paid", "failed"]
    assert client.v1.payouts.retrieve(payout.id).failure_code == "account_closed"
    with pytest.raises(urllib.error.HTTPError):  # nothing new to pay out
        stand_in.control("POST", "/_payouts", {"currency": "sek"})
    page = client.v1.balance_transactions.list({"payout": payout.id, "limit": 1})
    assert page.has_more
    rest = client.v1.balance_transactions.list(
        {"payout": payout.id, "starting_after": page.data[0].id}
    )
    assert len(rest.data) == 2
    assert payout.id in [one.id for one in client.v1.payouts.list().data]
