"""What callers ask of a payment that exists: confirm, capture, cancel. Pure, a part of `decide`.

Each raises NotPossible when the payment's state does not allow it, with a code that says why.
"""

from datetime import datetime

from msgspec.structs import replace

from strongroom.payments.moves import REPLACED, close
from strongroom.payments.states import (
    CaptureAsked,
    Decision,
    InstrumentBrought,
    Leave,
    NotPossible,
    Payment,
    Schedule,
)
from strongroom.payments.ways import Way, without_tokens


def instrument_brought(payment: Payment, brought: InstrumentBrought, now: datetime) -> Decision:
    """The payment can be sent now."""
    _not_frozen(payment)
    if payment.closing:
        raise NotPossible("payment_is_closing")
    if payment.instrument_token is None:
        _not_over(payment)
    if payment.status not in ("requires_payment_method", "requires_action"):
        raise NotPossible("payment_has_an_instrument")
    if now >= payment.not_after:
        raise NotPossible("not_after_passed")
    if payment.status == "requires_action":
        return _replaced(payment, brought, now)
    changed = payment.changed(
        now,
        status="processing",
        status_reason=None,
        ways=tuple(
            way
            for way in brought.ways or without_tokens(payment.ways)
            if way.gateway_account_id != brought.gateway_account_id
        ),
        gateway=brought.gateway,
        gateway_account_id=brought.gateway_account_id,
        instrument_token=brought.token,
        return_url=brought.return_url or payment.return_url,
    )
    return Decision(changed, Schedule(now), "payment.instrument_brought")


def _replaced(payment: Payment, brought: InstrumentBrought, now: datetime) -> Decision:
    """Another instrument, though the customer may still finish with the first.

    The first one's object is canceled for certain before the other is sent; where the customer was
    faster, the money is taken and the other one never used.
    """
    own = Way(
        gateway=brought.gateway,
        gateway_account_id=brought.gateway_account_id,
        token=brought.token,
    )
    others = tuple(way for way in brought.ways if way.gateway_account_id != own.gateway_account_id)
    closing = close(payment, now, "new_attempt", REPLACED, None, Schedule(now))
    changed = replace(
        closing.payment,
        ways=(own, *others),
        return_url=brought.return_url or payment.return_url,
    )
    return replace(closing, payment=changed)


def customer_returned(payment: Payment, now: datetime) -> Decision:
    """The customer says that the action is over: the gateway is asked at once."""
    match payment.status:
        case "requires_action":
            return Decision(payment, Schedule(now))
        case "processing" | "authorized" | "outcome_unknown":
            return Decision(payment, Leave())
        case "requires_payment_method":
            raise NotPossible("instrument_missing")
        case "succeeded" | "failed" | "canceled":
            raise NotPossible("payment_is_over")


def capture_asked(payment: Payment, asked: CaptureAsked, now: datetime) -> Decision:
    """A hold is to be captured, once, in full or in part; what is not captured is released."""
    _not_frozen(payment)
    _not_over(payment)
    if payment.closing:
        raise NotPossible("payment_is_closing")
    if payment.capture_minor is not None:
        raise NotPossible("capture_under_way")
    if payment.status != "authorized":
        raise NotPossible("payment_not_authorized")
    amount_minor = payment.amount_minor if asked.amount_minor is None else asked.amount_minor
    if amount_minor > payment.amount_minor:
        raise NotPossible("capture_exceeds_authorized")
    changed = payment.changed(
        now,
        status="processing",
        status_reason="waiting_for_capture_at_gateway",
        capture_minor=amount_minor,
    )
    return Decision(changed, Schedule(now), "payment.capture_asked")


def cancel_asked(payment: Payment, now: datetime) -> Decision:
    """No money is to be taken, unless the gateway has taken it by now.

    The payment is `processing` until the gateway has confirmed.
    """
    if payment.status == "canceled":
        return Decision(payment, Leave())
    _not_frozen(payment)
    _not_over(payment)
    if payment.capture_minor is not None:
        raise NotPossible("capture_under_way")
    if payment.status == "outcome_unknown":
        raise NotPossible("outcome_not_known")
    if payment.closing in ("canceled", "failed"):
        return Decision(payment, Leave())
    return close(payment, now, "canceled", "requested_by_caller", None, Schedule(now))


def _not_frozen(payment: Payment) -> None:
    if payment.review:
        raise NotPossible("payment_under_review")


def _not_over(payment: Payment) -> None:
    if payment.status in ("succeeded", "failed", "canceled"):
        raise NotPossible("payment_is_over")
