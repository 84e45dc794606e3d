"""The documented test payment methods and what becomes of them (docs.stripe.com/testing)."""

from enum import StrEnum

import msgspec


class Challenge(StrEnum):
    """When a card asks for 3D Secure."""

    NEVER = "never"
    ON_REQUEST = "on_request"
    ALWAYS = "always"
    UNLESS_SET_UP = "unless_set_up"
    ON_SESSION = "on_session"


class Decline(msgspec.Struct, frozen=True):
    """How an issuer (or Stripe's Radar, with ``blocked``) declines."""

    code: str
    message: str
    decline_code: str | None = None
    advice_code: str | None = None
    network_decline_code: str | None = None
    network_advice_code: str | None = None
    blocked: bool = False


class Refunding(msgspec.Struct, frozen=True):
    """How a refund begins, and what becomes of it some time later."""

    begins: str = "succeeded"
    ends: str | None = None
    failure_reason: str | None = None


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A test card: its face, its 3D Secure behaviour, its decline, if any, and its refunds."""

    brand: str = "visa"
    last4: str = "4242"
    country: str = "US"
    funding: str = "credit"
    challenge: Challenge = Challenge.NEVER
    decline: Decline | None = None
    risk_level: str = "normal"
    cvc_check: str = "pass"
    refunding: Refunding = Refunding()


DECLINED = "Your card was declined."
RETRY, NO_RETRY, CONFIRM_DATA = "try_again_later", "do_not_try_again", "confirm_card_data"

GENERIC = Decline("card_declined", DECLINED, "generic_decline", RETRY, "05", "02")
FUNDS = Decline(
    "card_declined", "Your card has insufficient funds.", "insufficient_funds", RETRY, "51", "02"
)
LOST = Decline("card_declined", DECLINED, "lost_card", NO_RETRY, "41", "03")
STOLEN = Decline("card_declined", DECLINED, "stolen_card", NO_RETRY, "43", "03")
EXPIRED = Decline("expired_card", "Your card has expired.", None, CONFIRM_DATA, "54", "01")
CVC = Decline(
    "incorrect_cvc", "Your card's security code is incorrect.", None, CONFIRM_DATA, "82", "01"
)
PROCESSING = Decline(
    "processing_error", "The card could not be processed. Try again soon.", None, RETRY, "96", "02"
)
VELOCITY = Decline("card_declined", DECLINED, "card_velocity_exceeded", RETRY, "65", "02")
FRAUD = Decline("card_declined", DECLINED, "fraudulent", NO_RETRY, "59", "03")
BLOCKED = Decline("card_declined", DECLINED, "fraudulent", NO_RETRY, blocked=True)
NUMBER = Decline("incorrect_number", "Your card number is incorrect.", None, CONFIRM_DATA, "14")
AUTHENTICATE = Decline(
    "authentication_required",
    "Your card was declined. This payment requires authentication.",
    "authentication_required",
)

BRANDS: dict[str, Card] = {
    "visa": Card(),
    "visa_debit": Card(last4="5556", funding="debit"),
    "mastercard": Card(brand="mastercard", last4="4444"),
    "mastercard_debit": Card(brand="mastercard", last4="8210", funding="debit"),
    "mastercard_prepaid": Card(brand="mastercard", last4="5100", funding="prepaid"),
    "amex": Card(brand="amex", last4="0005"),
    "amex_threeDSecureNotSupported": Card(brand="amex", last4="0005"),
    "discover": Card(brand="discover", last4="1117"),
    "diners": Card(brand="diners", last4="0004"),
    "jcb": Card(brand="jcb", last4="0505", country="JP"),
    "unionpay": Card(brand="unionpay", last4="0005", country="CN"),
}
COUNTRIES: dict[str, str] = {
    "us": "4242", "ar": "0021", "br": "0002", "ca": "0000", "cl": "0003", "mx": "0008",
    "at": "0008", "be": "0004", "bg": "0000", "cz": "0002", "dk": "0001", "ee": "0009",
    "fi": "0001", "fr": "0003", "de": "0016", "gr": "0030", "hu": "0005", "ie": "0005",
    "it": "0008", "nl": "0002", "no": "0003", "pl": "0005", "pt": "0001", "ro": "0004",
    "es": "0007", "se": "0008", "ch": "0009", "gb": "0000", "au": "0006", "cn": "0002",
    "hk": "0004", "in": "0008", "jp": "0003", "my": "0002", "nz": "0008", "sg": "0003",
    "th": "0003",
}  # fmt: skip
DECLINES: dict[str, tuple[Decline, str]] = {
    "chargeDeclined": (GENERIC, "0002"),
    "chargeDeclinedInsufficientFunds": (FUNDS, "9995"),
    "chargeDeclinedLostCard": (LOST, "9987"),
    "chargeDeclinedStolenCard": (STOLEN, "9979"),
    "chargeDeclinedExpiredCard": (EXPIRED, "0069"),
    "chargeDeclinedIncorrectCvc": (CVC, "0127"),
    "chargeDeclinedProcessingError": (PROCESSING, "0119"),
    "chargeDeclinedVelocityLimitExceeded": (VELOCITY, "6975"),
    "chargeDeclinedFraudulent": (FRAUD, "0019"),
    "chargeDeclinedIncorrectNumber": (NUMBER, "4241"),
    "chargeCustomerFail": (GENERIC, "0341"),
    "chargeCustomerFailLostCard": (LOST, "0341"),
    "chargeCustomerFailStolenCard": (STOLEN, "0341"),
}
CODES = """
approve_with_id authentication_not_handled authentication_required call_issuer card_not_supported
card_velocity_exceeded currency_not_supported do_not_honor do_not_try_again
duplicate_transaction expired_card fraudulent
generic_decline incorrect_address incorrect_number incorrect_cvc incorrect_pin incorrect_zip
insufficient_funds invalid_account invalid_amount invalid_cvc invalid_expiry_month
invalid_expiry_year invalid_number invalid_pin issuer_not_available lost_card merchant_blacklist
new_account_information_available no_action_taken not_permitted offline_pin_required
online_or_offline_pin_required pickup_card pin_try_exceeded processing_error reenter_transaction
restricted_card revocation_of_all_authorizations revocation_of_authorization security_violation
service_not_allowed stolen_card stop_payment_order testmode_decline transaction_not_allowed
try_again_later withdrawal_count_limit_exceeded
""".split()
"""All decline codes (docs.stripe.com/declines/codes). Stripe has test cards for few of them; here
``pm_decline_<code>`` is one for each."""
OTHERS: dict[str, Card] = {
    "radarBlock": Card(last4="0019", decline=BLOCKED, risk_level="highest"),
    "riskLevelHighest": Card(last4="4954", decline=BLOCKED, risk_level="highest"),
    "riskLevelElevated": Card(last4="9235", risk_level="elevated"),
    "cvcCheckFail": Card(last4="0101", cvc_check="fail"),
    "cvcCheckFailElevatedRisk": Card(last4="7872", cvc_check="fail", risk_level="elevated"),
    "avsZipFail": Card(last4="0036"),
    "avsZipFailElevatedRisk": Card(last4="6072", risk_level="elevated"),
    "avsLine1Fail": Card(last4="0028"),
    "avsFail": Card(last4="0010"),
    "avsUnchecked": Card(last4="0044"),
    "createDispute": Card(last4="0259"),
    "createDisputeProductNotReceived": Card(last4="2685"),
    "createDisputeInquiry": Card(last4="1976"),
    "createIssuerFraudRecord": Card(last4="5423"),
    "createMultipleDisputes": Card(last4="0079"),
    "pendingRefund": Card(last4="7726", refunding=Refunding("pending", "succeeded")),
    "refundFail": Card(
        last4="5126", refunding=Refunding("succeeded", "failed", "expired_or_canceled_card")
    ),
    "bypassPending": Card(last4="0077"),
    "bypassPendingInternational": Card(last4="0278", country="BR"),
    "threeDSecure2Required": Card(last4="3220", challenge=Challenge.ALWAYS),
    "threeDSecureRequired": Card(last4="3063", challenge=Challenge.ALWAYS),
    "threeDSecureRequiredChargeDeclined": Card(
        last4="1629", challenge=Challenge.ALWAYS, decline=GENERIC
    ),
    "threeDSecureRequiredProcessingError": Card(
        last4="1280", challenge=Challenge.ALWAYS, decline=PROCESSING
    ),
    "threeDSecureOptional": Card(last4="3055", challenge=Challenge.ON_REQUEST),
    "authenticationRequired": Card(last4="3184", challenge=Challenge.ALWAYS),
    "authenticationRequiredOnSetup": Card(last4="3155", challenge=Challenge.UNLESS_SET_UP),
    "authenticationRequiredSetupForOffSession": Card(last4="0446", challenge=Challenge.ON_SESSION),
    "authenticationRequiredChargeDeclinedInsufficientFunds": Card(
        last4="3178", challenge=Challenge.UNLESS_SET_UP, decline=FUNDS
    ),
}


def _all_cards() -> dict[str, Card]:
    cards = dict(BRANDS) | OTHERS
    cards |= {code: Card(country=code.upper(), last4=last4) for code, last4 in COUNTRIES.items()}
    for name, (decline, last4) in DECLINES.items():
        # The documented ids name the brand for some declines and leave it out for others.
        cards[name] = cards[f"visa_{name}"] = Card(last4=last4, decline=decline)
    cards["visa_debit_chargeDeclinedInsufficientFunds"] = Card(
        last4="9995", funding="debit", decline=FUNDS
    )
    known = {f"pm_card_{name}": card for name, card in cards.items()}
    return known | {
        f"pm_decline_{code}": Card(last4="0002", decline=Decline("card_declined", DECLINED, code))
        for code in CODES
    }


CARDS = _all_cards()


def asks_for_action(card: Card, *, off_session: bool, set_up: bool, requested: bool) -> bool:
    """Tell whether a payment with this card stops for 3D Secure.

    ``set_up``: the payment method was saved for off-session use after an authentication.
    ``requested``: the merchant asked for 3D Secure on a card that merely supports it.
    """
    match card.challenge:
        case Challenge.NEVER:
            return False
        case Challenge.ON_REQUEST:
            return requested and not off_session
        case Challenge.ALWAYS:
            return True
        case Challenge.UNLESS_SET_UP:
            return not (off_session and set_up)
        case Challenge.ON_SESSION:
            return not off_session
