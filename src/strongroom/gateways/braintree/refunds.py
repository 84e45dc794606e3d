"""Refunds at Braintree: a refund of what is settling or settled, a void before that.

A void gives back everything, so before the settlement only a refund of the whole charge can be
made; one of a part waits. Either way money goes back once: what was voided cannot be refunded, and
what settles cannot be voided. A refund is a Transaction of its own that bears our reference as its
order_id; a void is known by the sale that it ended.
"""

from collections.abc import Mapping
from typing import Any, Final

from braintree import BraintreeGateway

from strongroom.gateways.braintree.connections import Heard
from strongroom.gateways.braintree.declines import CODE_CHARACTERS_MAX
from strongroom.gateways.braintree.errors import KEY_UNKNOWN
from strongroom.gateways.braintree.money import from_braintree, to_braintree
from strongroom.gateways.braintree.reading import REFUNDABLE, SETTLED, TAKEN, VOIDABLE
from strongroom.ids import to_text
from strongroom.payments.refunds import (
    Absent,
    NoneYet,
    Refund,
    RefundAnswer,
    Refunded,
    Refused,
    Several,
)
from strongroom.payments.states import Attempt, Mismatched, NotSent, Payment, Unknown

WAITS: Final = "waits_for_settlement"
REFUNDS_MAX: Final = 50
"""More refunds of one sale than this are not looked through."""
_FAILED: Final = frozenset(
    {"processor_declined", "gateway_rejected", "failed", "settlement_declined", "settlement_failed",
     "voided"}
)  # fmt: skip

Said = Heard[RefundAnswer]


def refund_parameters(payment: Payment, attempt: Attempt, refund: Refund) -> Mapping[str, Any]:
    """Parameters of the refund; references only, no personal data.

    `whole`: it gives back all that was taken, so that it may be a void.
    """
    return {
        "transaction": attempt.gateway_object_id,
        "amount": to_braintree(refund.amount_minor, refund.currency),
        "order_id": reference_of(refund),
        "whole": refund.amount_minor == payment.captured_minor,
    }


def reference_of(refund: Refund) -> str:
    """Our id of the refund, as Braintree is told."""
    return to_text("ref", refund.refund_id)


def give_back(gateway: BraintreeGateway, refund: Refund, parameters: Mapping[str, Any]) -> Said:
    """Gives the money back, once, however often it is called."""
    sale = gateway.transaction.find(parameters["transaction"])
    if sale.status == "voided":
        return _voided(sale, refund, parameters)
    if sale.status in REFUNDABLE:
        result = gateway.transaction.refund(
            sale.id,
            {
                "amount": parameters["amount"],
                "order_id": parameters["order_id"],
                "api_request_key": refund.gateway_key,
            },
        )
        return _of_result(result, refund, parameters)
    if sale.status not in VOIDABLE:
        return Heard(Refused(str(sale.status)[:CODE_CHARACTERS_MAX]), status=str(sale.status))
    if not parameters["whole"]:
        return Heard(NotSent(WAITS), status=str(sale.status))
    result = gateway.transaction.void(sale.id)
    if result is not None and result.is_success:
        return _voided(result.transaction, refund, parameters)
    # It began to settle in this moment, or was voided: the next look tells.
    return Heard(Unknown("void_refused"))


def look_for(gateway: BraintreeGateway, refund: Refund, parameters: Mapping[str, Any]) -> Said:
    """What has become of the refund; among the refunds that its sale names, which are all."""
    known = refund.gateway_object_id
    if known is not None and known != parameters["transaction"]:
        return _read(gateway.transaction.find(known), refund, parameters)
    sale = gateway.transaction.find(parameters["transaction"])
    if sale.status == "voided":
        return _voided(sale, refund, parameters)
    if sale.status in VOIDABLE and not parameters["whole"]:
        return Heard(NoneYet(), status=str(sale.status))
    made = list(sale.refund_ids or ())
    if len(made) > REFUNDS_MAX:
        return Heard(Unknown("too_many_refunds"))
    ours = [
        found
        for found in map(gateway.transaction.find, made)
        if found.order_id == parameters["order_id"]
    ]
    if len(ours) > 1:
        return Heard(Several(len(ours)))
    return _read(ours[0], refund, parameters) if ours else Heard(Absent())


def _of_result(result: Any, refund: Refund, parameters: Mapping[str, Any]) -> Said:
    if result is None:
        return Heard(Unknown("gateway_error"))
    made = getattr(result, "transaction", None)
    if made is not None and (result.is_success or getattr(made, "order_id", None)):
        return _read(made, refund, parameters)
    codes = [str(error.code) for error in result.errors.deep_errors]
    unknown = next((KEY_UNKNOWN[code] for code in codes if code in KEY_UNKNOWN), None)
    if unknown is not None or not codes:
        return Heard(Unknown(unknown or "gateway_error"))
    return Heard(Refused(codes[0][:CODE_CHARACTERS_MAX]))


def _voided(sale: Any, refund: Refund, parameters: Mapping[str, Any]) -> Said:
    """All of the charge went back, whoever voided it; what was to go back in part did with it."""
    status = str(sale.status)
    if not parameters["whole"]:
        return Heard(Refused("voided_at_gateway"), status=status)
    currency = str(sale.currency_iso_code).upper()
    amount_minor = from_braintree(sale.amount, currency)
    if (amount_minor, currency) != (refund.amount_minor, refund.currency):
        return Heard(Mismatched(amount_minor or 0, currency), status=status)
    return Heard(
        Refunded(str(sale.id), "succeeded", refund.amount_minor, currency), str(sale.id), status
    )


def _read(found: Any, refund: Refund, parameters: Mapping[str, Any]) -> Said:
    """What a Transaction that gives money back says about the refund that it belongs to."""
    status, object_id = str(found.status), str(found.id)
    if (
        found.type != "credit"
        or found.refunded_transaction_id != parameters["transaction"]
        or found.order_id != parameters["order_id"]
        or refund.gateway_object_id not in (None, object_id)
    ):
        return Heard(Unknown("another_object"), status=status)
    currency = str(found.currency_iso_code).upper()
    amount_minor = from_braintree(found.amount, currency)
    if amount_minor is None or (amount_minor, currency) != (refund.amount_minor, refund.currency):
        return Heard(Mismatched(amount_minor or 0, currency), status=status)
    answer: RefundAnswer
    if status in SETTLED:
        answer = Refunded(object_id, "succeeded", amount_minor, currency)
    elif status in TAKEN or status in ("authorizing", "authorized"):
        answer = Refunded(object_id, "pending", amount_minor, currency)
    elif status in _FAILED:
        answer = Refunded(object_id, "failed", amount_minor, currency, status)
    else:
        answer = Unknown("unexpected_status")
    return Heard(answer, object_id, status)
