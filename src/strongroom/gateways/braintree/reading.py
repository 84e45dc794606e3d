"""What a Transaction, or a refusal of one, says about the attempt that it belongs to."""

from datetime import UTC, datetime
from typing import Any, Final

from strongroom.gateways.braintree.declines import CODE_CHARACTERS_MAX, classify, classify_rejection
from strongroom.gateways.braintree.errors import KEY_UNKNOWN
from strongroom.gateways.braintree.money import from_braintree
from strongroom.payments.states import (
    Answer,
    Approved,
    Attempt,
    Authorized,
    Canceled,
    Declined,
    Mismatched,
    Pending,
    Unknown,
)

TAKEN: Final = frozenset({"submitted_for_settlement", "settlement_pending", "settling"})
"""On the way to the merchant; it may still fall through."""
SETTLED: Final = frozenset({"settled", "settlement_confirmed"})
VOIDABLE: Final = frozenset({"authorized", "submitted_for_settlement", "settlement_pending"})
REFUNDABLE: Final = frozenset({"settling", "settled", "settlement_confirmed"})
_CAPTURED: Final = TAKEN | SETTLED | {"settlement_declined", "settlement_failed", "voided"}
"""What may become of a capture; a void is that of a refund on the same day."""
_NONCE_CODES: Final = frozenset({"91564", "91565", "91566", "91567", "91569", "81715", "91518"})
"""The instrument is no longer, or never was, one that can be charged."""
_NOT_AUTHENTICATED: Final = ("authenticate_failed", "authenticate_rejected", "challenge_required")


def order_id_of(attempt: Attempt) -> str:
    """Our reference of the attempt, as Braintree is told."""
    return str(attempt.parameters["sale"]["order_id"])


def object_id_of(found: Any) -> str | None:
    """The id of a Transaction, if it is one."""
    object_id = getattr(found, "id", None)
    return object_id if isinstance(object_id, str) and object_id else None


def read_transaction(found: Any, attempt: Attempt) -> Answer:
    """What a Transaction says about the attempt that it belongs to.

    Raises AttributeError and the like where it is not formed as one.
    """
    object_id = object_id_of(found)
    if object_id is None or attempt.gateway_object_id not in (None, object_id):
        return Unknown("another_object")
    if found.type != "sale" or found.order_id != order_id_of(attempt):
        return Unknown("another_object")
    currency, status = str(found.currency_iso_code).upper(), str(found.status)
    amount_minor = from_braintree(found.amount, currency)
    if currency != attempt.currency or amount_minor is None:
        return Mismatched(amount_minor or 0, currency)
    if amount_minor != attempt.amount_minor and not _is_part(status, amount_minor, attempt):
        return Mismatched(amount_minor, currency)
    over = _over(found, status)
    if over is not None:
        return over
    if _lacks_authentication(found, attempt):
        if status in REFUNDABLE:
            return Unknown("taken_unauthenticated")
        return Declined("authentication_failed", "three_d_secure_info", object_open=True)
    if status == "authorized":
        return Authorized(amount_minor, currency, _expires_at(found))
    if status in SETTLED or status in TAKEN:
        return Approved(amount_minor, currency, settled=status in SETTLED)
    return Unknown("unexpected_status")


def _over(found: Any, status: str) -> Answer | None:
    """What a status says in which no money is held or taken; None for one in which some may be."""
    match status:
        case "processor_declined" | "failed":
            decline, raw = classify(
                _text(found, "processor_response_code") or status,
                _text(found, "processor_response_type"),
                _text(found, "merchant_advice_code"),
            )
            decline = "try_again" if raw == "failed" else decline
            return Declined(decline, raw, object_open=False)
        case "gateway_rejected":
            decline, raw = classify_rejection(_text(found, "gateway_rejection_reason"))
            if decline == "duplicate":
                # Of the attempt itself, whose reference no other has: that one may have the money.
                return Unknown("duplicate_at_gateway")
            return Declined(decline, raw, object_open=False)
        case "settlement_declined" | "settlement_failed":
            code = _text(found, "processor_settlement_response_code") or status
            return Declined("generic_decline", code[:CODE_CHARACTERS_MAX], object_open=False)
        case "voided":
            return Canceled()
        case "authorization_expired":
            return Canceled(expired=True)
        case "authorizing":
            return Pending()
        case _:
            return None


def read_refusal(result: Any) -> Answer:
    """What an ErrorResult without a Transaction says: nothing was made by this request."""
    codes = [str(error.code) for error in result.errors.deep_errors]
    for code in codes:
        if code in KEY_UNKNOWN:
            return Unknown(KEY_UNKNOWN[code])
    if not codes:
        return Unknown("gateway_error")
    known = next((code for code in codes if code in _NONCE_CODES), None)
    if known is not None:
        return Declined("invalid_instrument", known, object_open=False)
    return Declined("config_error", codes[0][:CODE_CHARACTERS_MAX], object_open=False)


def _is_part(status: str, amount_minor: int, attempt: Attempt) -> bool:
    """Whether it may be that only a part of what was held was captured."""
    return (
        attempt.kind == "authorize"
        and status in _CAPTURED
        and 0 < amount_minor < attempt.amount_minor
    )


def _lacks_authentication(found: Any, attempt: Attempt) -> bool:
    """Whether authentication was required, and the server's own word does not say it took place.

    What the browser said is not asked. Where the issuer takes no part, there is nothing to shift.
    """
    options = attempt.parameters["sale"].get("options", {})
    if not options.get("three_d_secure", {}).get("required"):
        return False
    info = getattr(found, "three_d_secure_info", None)
    if info is None:
        return True
    shifted = getattr(info, "liability_shifted", None) is True
    possible = getattr(info, "liability_shift_possible", None) is not False
    failed = str(getattr(info, "status", "")).startswith(_NOT_AUTHENTICATED)
    return not shifted and (possible or failed)


def _expires_at(found: Any) -> datetime | None:
    """When the hold ends. The SDK gives a moment without its zone, which is UTC."""
    ends = getattr(found, "authorization_expires_at", None)
    if not isinstance(ends, datetime):
        return None
    return ends.replace(tzinfo=UTC) if ends.tzinfo is None else ends


def _text(found: Any, name: str) -> str | None:
    value = getattr(found, name, None)
    return value if isinstance(value, str) and value else None
