"""Refunds at Stripe: their parameters, and what a Refund, a list or an error says about one.

A Refund takes its place in the charge when it is made; it can still fail up to 30 days later
(docs.stripe.com/refunds).
"""

from collections.abc import Mapping
from typing import Any, Final

import stripe
from stripe import StripeError

from strongroom.gateways.stripe.errors import CODE_CHARACTERS_MAX, code_of, unanswered
from strongroom.gateways.stripe.metadata import PAYMENT, REFUND
from strongroom.gateways.stripe.money import from_stripe, to_stripe
from strongroom.ids import to_text
from strongroom.payments.refunds import Refund, RefundAnswer, Refunded, Refused
from strongroom.payments.states import Attempt, Mismatched, Payment, Unknown

PAGE_SIZE: Final = 100
PAGES_MAX: Final = 20
"""More refunds of one payment than this are not looked through."""


def refund_parameters(payment: Payment, attempt: Attempt, refund: Refund) -> Mapping[str, Any]:
    """Parameters of the refund; references only, no personal data."""
    parameters: dict[str, Any] = {
        "payment_intent": attempt.gateway_object_id,
        "amount": to_stripe(refund.amount_minor, refund.currency),
        "metadata": {
            REFUND: reference_of(refund),
            PAYMENT: to_text("pay", payment.payment_id),
        },
    }
    if refund.reason is not None:
        parameters["reason"] = refund.reason
    return parameters


def reference_of(refund: Refund) -> str:
    """Our id of the refund, as Stripe is told."""
    return to_text("ref", refund.refund_id)


def read_refund(found: stripe.Refund, refund: Refund) -> RefundAnswer:
    """What a Refund says about the refund that it belongs to."""
    object_id: Any = found.id
    if not isinstance(object_id, str) or not object_id or not _belongs(found, refund):
        return Unknown("another_object")
    currency = found.currency.upper()
    amount_minor = from_stripe(found.amount, currency)
    if amount_minor is None or (amount_minor, currency) != (refund.amount_minor, refund.currency):
        return Mismatched(amount_minor or 0, currency)
    match found.status:
        case "succeeded":
            return Refunded(found.id, "succeeded", amount_minor, currency)
        case "pending" | "requires_action":
            return Refunded(found.id, "pending", amount_minor, currency)
        case "failed" | "canceled" as status:
            why = getattr(found, "failure_reason", None) or status
            why = str(why)[:CODE_CHARACTERS_MAX]
            return Refunded(found.id, "failed", amount_minor, currency, why)
        case _:
            return Unknown("unexpected_status")


def read_refund_error(error: StripeError) -> tuple[RefundAnswer, None]:
    """What an error of the SDK says about making a refund."""
    return unanswered(error) or Refused(code_of(error)), None


def is_ours(found: stripe.Refund, refund: Refund) -> bool:
    """Whether Stripe's Refund was made for this refund: it bears our reference."""
    metadata = found.metadata
    return metadata is not None and getattr(metadata, REFUND, None) == reference_of(refund)


def _belongs(found: stripe.Refund, refund: Refund) -> bool:
    """The id that is known, the payment that was asked for, our reference if it bears one."""
    if refund.gateway_object_id not in (None, found.id):
        return False
    asked = (refund.parameters or {}).get("payment_intent")
    if asked is not None and found.payment_intent != asked:
        return False
    reference = getattr(found.metadata, REFUND, None) if found.metadata is not None else None
    return reference in (None, reference_of(refund))
