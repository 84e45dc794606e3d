"""What of a taxed payment is to be reported, when, and under which name."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from strongroom.ids import new_entity_id, new_id, to_text
from strongroom.payments.refunds import Refund
from strongroom.payments.states import Payment
from strongroom.tax.calculations import (
    REPORTING_TIME,
    Calculated,
    Calculation,
    Kind,
    Lines,
    Make,
    Over,
    Transaction,
    Wait,
    due_of,
    event_kind,
    gives_up,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MOMENT = int(NOW.timestamp() * 1_000_000)
ENTITY = new_entity_id(MOMENT)
CALCULATION, PAYMENT, ACCOUNT = (new_id(MOMENT + step, ENTITY) for step in range(3))
REFUND, LATER = (new_id(MOMENT + step, ENTITY) for step in (10, 11))


def payment(**fields: Any) -> Payment:
    given: dict[str, Any] = {
        "legal_entity_id": ENTITY, "payment_id": PAYMENT, "version": 3, "status": "succeeded",
        "amount_minor": 11_900, "captured_minor": 11_900, "currency": "EUR",
        "merchant_reference": "order-1", "not_after": NOW, "gateway_key_seed": bytes(16),
        "digest_salt": bytes(16), "created_at": NOW, "updated_at": NOW,
    }  # fmt: skip
    return Payment(**given | fields)


def refund(refund_id: UUID = REFUND, **fields: Any) -> Refund:
    given: dict[str, Any] = {
        "legal_entity_id": ENTITY, "refund_id": refund_id, "payment_id": PAYMENT,
        "status": "succeeded", "amount_minor": 1190, "currency": "EUR", "gateway": "stripe",
        "gateway_account_id": ACCOUNT, "gateway_key": "k", "digest_salt": bytes(16),
        "created_at": NOW, "updated_at": NOW,
    }  # fmt: skip
    return Refund(**given | fields)


def report(kind: Kind = "sale", source: UUID = PAYMENT, **fields: Any) -> Transaction:
    given: dict[str, Any] = {
        "legal_entity_id": ENTITY, "calculation_id": CALCULATION, "source_id": source,
        "kind": kind, "status": "made", "amount_minor": 1190, "gateway_object_id": f"tax_{kind}",
        "opened_at": NOW, "created_at": NOW, "updated_at": NOW,
    }  # fmt: skip
    return Transaction(**given | fields)


def calculation() -> Calculation:
    return Calculation(
        legal_entity_id=ENTITY, calculation_id=CALCULATION, version=1, status="processing",
        currency="EUR", gateway="stripe", gateway_account_id=ACCOUNT, digest_salt=bytes(16),
        created_at=NOW, updated_at=NOW,
    )  # fmt: skip


@pytest.mark.parametrize("status", ["processing", "requires_action", "authorized"])
def test_what_is_not_at_its_end_waits_longer_the_older_it_is(status):
    young = due_of(payment(status=status), [], [], NOW + timedelta(seconds=1))
    old = due_of(payment(status=status), [], [], NOW + timedelta(days=7))
    assert (young, old) == (Wait(1), Wait(3600))


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_what_took_no_money_is_not_reported(status):
    assert due_of(payment(status=status, captured_minor=0), [], [], NOW) == Over()


def test_what_a_person_has_to_look_at_is_not_reported_yet():
    assert isinstance(due_of(payment(review="amount_mismatch"), [], [], NOW), Wait)


def test_what_went_back_of_a_sale_that_is_reported_is_taken_back_under_review_too():
    """No command ends a review that a dispute in other money brought."""
    held = payment(review="dispute_mismatch", captured_minor=5950)
    due = due_of(held, [report()], [refund()], NOW)
    assert due == Make("reversal", REFUND, 1190, "tax_sale")
    assert due_of(held, [report(), report("reversal", REFUND)], [refund()], NOW) == Over()
    sent = [report(status="open", gateway_object_id=None)]
    assert isinstance(due_of(held, sent, [refund()], NOW), Wait)


def test_a_sale_is_reported_until_it_stands():
    assert due_of(payment(), [], [], NOW) == Make("sale", PAYMENT, 11_900)
    sent = [report(status="open", gateway_object_id=None)]
    assert due_of(payment(), sent, [], NOW) == Make("sale", PAYMENT, 11_900)
    assert due_of(payment(), [report()], [], NOW) == Over()


def test_nothing_is_taken_back_of_what_nobody_can_name():
    for sale in (report(gateway_object_id=None), report(status="refused")):
        assert due_of(payment(), [sale], [refund()], NOW) == Over()


def test_what_was_not_captured_is_taken_back():
    part = payment(captured_minor=5950)
    assert due_of(part, [report()], [], NOW) == Make("uncaptured", PAYMENT, 5950, "tax_sale")
    assert due_of(part, [report(), report("uncaptured")], [], NOW) == Over()


def test_each_refund_that_gave_money_back_is_reversed_once_in_their_order():
    both = [refund(LATER), refund()]
    assert due_of(payment(), [report()], both, NOW) == Make("reversal", REFUND, 1190, "tax_sale")
    one = [report(), report("reversal", REFUND)]
    assert due_of(payment(), one, both, NOW) == Make("reversal", LATER, 1190, "tax_sale")
    assert due_of(payment(), [*one, report("reversal", LATER)], both, NOW) == Over()


@pytest.mark.parametrize("status", ["processing", "pending", "outcome_unknown", "failed"])
def test_a_refund_that_gave_nothing_back_is_not_reversed(status):
    assert due_of(payment(), [report()], [refund(status=status)], NOW) == Over()


def test_a_refund_that_fails_after_all_is_restored():
    failed, reversal = refund(status="failed"), report("reversal", REFUND)
    due = due_of(payment(), [report(), reversal], [failed], NOW)
    assert due == Make("restoral", REFUND, 1190, "tax_reversal")
    sent = replace(reversal, status="open", gateway_object_id=None)
    due = due_of(payment(), [report(), sent], [failed], NOW)
    assert due == Make("reversal", REFUND, 1190, "tax_sale"), "what may be made is made, to undo it"
    done = [report(), reversal, report("restoral", REFUND)]
    assert due_of(payment(), done, [failed], NOW) == Over()


def test_every_report_has_a_name_of_its_own():
    named: list[tuple[Kind, UUID]] = [
        ("sale", PAYMENT), ("uncaptured", PAYMENT), ("reversal", REFUND), ("restoral", REFUND),
    ]  # fmt: skip
    names = [report(kind, source).reference for kind, source in named]
    own, back = to_text("pay", PAYMENT), to_text("ref", REFUND)
    assert names == [own, f"{own}-uncaptured", back, f"{back}-restoral"]


def test_another_moment_is_another_key_under_the_same_name():
    first, second = report(), report(opened_at=NOW + timedelta(hours=20))
    assert first.gateway_key != second.gateway_key
    assert first.reference == second.reference


def test_an_answer_in_another_currency_is_none():
    found = Calculated(
        object_id="taxcalc_1", currency="USD", total_minor=1, exclusive_minor=0,
        inclusive_minor=0, lines=Lines(()), expires_at=NOW + timedelta(days=90),
    )  # fmt: skip
    failed = calculation().answered(found, NOW)
    assert (failed.status, failed.status_reason) == ("failed", "answer_differs")
    ready = calculation().answered(replace(found, currency="EUR"), NOW)
    assert (ready.status, ready.version) == ("ready", 2)
    assert ready.usable_until == NOW + timedelta(days=90) - REPORTING_TIME


def test_what_is_refused_is_tried_as_long_as_that_has_any_sense():
    ready = replace(calculation(), expires_at=NOW + timedelta(days=90))
    assert not gives_up(report(status="open"), ready, NOW + timedelta(days=89))
    assert gives_up(report(status="open"), ready, NOW + timedelta(days=90))
    assert not gives_up(report("reversal", REFUND), ready, NOW + timedelta(days=29))
    assert gives_up(report("reversal", REFUND), ready, NOW + timedelta(days=30))


def test_the_history_says_how_it_ended():
    kinds: tuple[Kind, ...] = ("sale", "uncaptured", "reversal", "restoral")
    ends = [event_kind(report(kind)) for kind in kinds]
    assert ends == ["tax.recorded", "tax.reversed", "tax.reversed", "tax.restored"]
    assert event_kind(report(status="refused")) == "tax.refused"
