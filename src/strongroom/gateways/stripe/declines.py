"""Stripe's decline codes as normalised classes (docs.stripe.com/declines/codes)."""

from typing import Final

from strongroom.payments.states import DeclineClass

CLASSES: Final[dict[str, DeclineClass]] = {
    "insufficient_funds": "insufficient_funds",
    "card_velocity_exceeded": "limit_exceeded",
    "withdrawal_count_limit_exceeded": "limit_exceeded",
    "generic_decline": "generic_decline",
    "card_declined": "generic_decline",
    "do_not_honor": "generic_decline",
    "no_action_taken": "generic_decline",
    "try_again_later": "try_again",
    "reenter_transaction": "try_again",
    "processing_error": "try_again",
    "issuer_not_available": "try_again",
    "authentication_required": "authentication_required",
    "payment_intent_authentication_failure": "authentication_failed",
    "expired_card": "expired_card",
    "incorrect_number": "invalid_card",
    "invalid_number": "invalid_card",
    "invalid_account": "invalid_card",
    "invalid_expiry_month": "invalid_card",
    "invalid_expiry_year": "invalid_card",
    "incorrect_cvc": "incorrect_cvc",
    "invalid_cvc": "incorrect_cvc",
    "incorrect_zip": "avs_mismatch",
    "incorrect_address": "avs_mismatch",
    "lost_card": "lost_stolen",
    "stolen_card": "lost_stolen",
    "pickup_card": "lost_stolen",
    "fraudulent": "fraud",
    "merchant_blacklist": "fraud",
    "security_violation": "fraud",
    "transaction_not_allowed": "not_permitted",
    "card_not_supported": "not_permitted",
    "currency_not_supported": "not_permitted",
    "restricted_card": "not_permitted",
    "stop_payment_order": "revoked",
    "revocation_of_authorization": "revoked",
    "revocation_of_all_authorizations": "revoked",
    "call_issuer": "call_issuer",
    "duplicate_transaction": "duplicate",
    "testmode_decline": "config_error",
}


def classify(code: str | None, decline_code: str | None) -> tuple[DeclineClass, str]:
    """The class of a decline and the raw code that it came from; unknown codes are generic."""
    raw = decline_code or code or "unknown"
    known = CLASSES.get(raw) or CLASSES.get(code or "")
    return known or "generic_decline", raw[:100]
