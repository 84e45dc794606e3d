"""Stripe's decline codes as normalised classes (docs.stripe.com/declines/codes).

What is advised (docs.stripe.com/declines/card, `advice_code`) stands above what the code's class
would have. A code that nobody knows is a generic decline, and not tried again.
"""

from typing import Any, Final

from strongroom.payments.states import DeclineClass, Declined
from strongroom.payments.ways import Retry

CLASSES: Final[dict[str, DeclineClass]] = {
    "insufficient_funds": "insufficient_funds",
    "card_velocity_exceeded": "limit_exceeded",
    "withdrawal_count_limit_exceeded": "limit_exceeded",
    "generic_decline": "generic_decline",
    "card_declined": "generic_decline",
    "do_not_honor": "generic_decline",
    "no_action_taken": "generic_decline",
    "not_permitted": "generic_decline",
    "service_not_allowed": "generic_decline",
    "do_not_try_again": "generic_decline",
    "try_again_later": "try_again",
    "reenter_transaction": "try_again",
    "processing_error": "try_again",
    "issuer_not_available": "try_again",
    "approve_with_id": "try_again",
    "authentication_required": "authentication_required",
    "authentication_not_handled": "authentication_required",
    "online_or_offline_pin_required": "authentication_required",
    "offline_pin_required": "authentication_required",
    "mobile_device_authentication_required": "authentication_required",
    "payment_intent_authentication_failure": "authentication_failed",
    "expired_card": "expired_card",
    "incorrect_number": "invalid_card",
    "invalid_number": "invalid_card",
    "invalid_account": "invalid_card",
    "incorrect_pin": "invalid_card",
    "invalid_pin": "invalid_card",
    "new_account_information_available": "invalid_card",
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
    "highest_risk_level": "fraud",
    "transaction_not_allowed": "not_permitted",
    "card_not_supported": "not_permitted",
    "currency_not_supported": "not_permitted",
    "restricted_card": "not_permitted",
    "pin_try_exceeded": "not_permitted",
    "stop_payment_order": "revoked",
    "revocation_of_authorization": "revoked",
    "revocation_of_all_authorizations": "revoked",
    "call_issuer": "call_issuer",
    "duplicate_transaction": "duplicate",
    "testmode_decline": "config_error",
    "live_mode_test_card": "config_error",
    "test_mode_live_card": "config_error",
    "invalid_amount": "config_error",
}
ADVICE: Final[dict[str, Retry]] = {
    "try_again_later": "later",
    "confirm_card_data": "new_data",
    "do_not_try_again": "never",
}
NEVER: Final = frozenset({"do_not_try_again"})
"""Codes that are an advice themselves."""
RAW_CHARACTERS_MAX: Final = 100


def declined(error: Any, *, object_open: bool) -> Declined:
    """What a card error of Stripe says, be it an answer's or a PaymentIntent's last one."""
    code, decline_code = getattr(error, "code", None), getattr(error, "decline_code", None)
    return classify(
        code, decline_code, getattr(error, "advice_code", None), object_open=object_open
    )


def classify(
    code: str | None, decline_code: str | None, advice: str | None, *, object_open: bool
) -> Declined:
    """The decline with its class, the raw code that it came from, and what Stripe advises."""
    raw = decline_code or code or "unknown"
    known = CLASSES.get(raw)
    retry = ADVICE.get(advice or "")
    if retry is None:
        # Without a code that we know, nothing says that another try is welcome.
        retry = "never" if raw in NEVER else None if known else "no"
    found = known or CLASSES.get(code or "") or "generic_decline"
    return Declined(found, str(raw)[:RAW_CHARACTERS_MAX], object_open, retry)
