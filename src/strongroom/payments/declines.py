"""What a decline means: whether another try makes sense, and what to say to whom. Pure.

Adapters map their gateway's codes onto the classes; what follows from a class stands here once.
"""

from typing import Final

from msgspec import Struct

from strongroom.payments.states import DeclineClass, Declined
from strongroom.payments.ways import Retry

_GENERIC: Final = "Your card was declined. Please use another card, or ask your bank."
_AGAIN: Final = "Your payment could not be processed. Please try again."


class Meaning(Struct, frozen=True):
    """What follows from a class; `retry` holds where the gateway advises nothing else.

    `elsewhere`: another gateway may come to another end.
    """

    retry: Retry
    customer_message: str
    merchant_advice: str
    elsewhere: bool = False


MEANINGS: Final[dict[DeclineClass, Meaning]] = {
    "insufficient_funds": Meaning(
        "later",
        "Your card has not enough funds for this. Please use another card.",
        "Another card now, or this one in some days.",
    ),
    "limit_exceeded": Meaning(
        "later",
        "Your card has reached a limit. Please use another card, or try again tomorrow.",
        "A limit of the card: another card now, or this one a day later.",
    ),
    "generic_decline": Meaning(
        "limited",
        _GENERIC,
        "The bank gives no reason. One more try at most; card networks fine what tries on.",
        elsewhere=True,
    ),
    "try_again": Meaning(
        "yes",
        _AGAIN,
        "A passing fault at the bank or on the way to it: the same again in a moment.",
        elsewhere=True,
    ),
    "authentication_required": Meaning(
        "after_authentication",
        "Your bank wants you to confirm this payment.",
        "Bring the customer back to authenticate; without that it is declined again.",
    ),
    "authentication_failed": Meaning(
        "after_authentication",
        "Your bank could not confirm that it is you. Please try again, or use another card.",
        "The customer did not pass the bank's check, and may try once more.",
    ),
    "expired_card": Meaning(
        "no",
        "Your card has expired. Please use another card.",
        "The card has expired: ask for another one.",
    ),
    "invalid_card": Meaning(
        "new_data",
        "The card number or expiry date is not right. Please check them.",
        "Number or expiry are wrong: ask for them again.",
    ),
    "incorrect_cvc": Meaning(
        "new_data",
        "The security code is not right. Please check it.",
        "Ask for the security code again.",
    ),
    "avs_mismatch": Meaning(
        "new_data",
        "The billing address does not match the card. Please check it.",
        "Ask for the billing address again.",
    ),
    "lost_stolen": Meaning(
        "never",
        _GENERIC,
        "The card is reported lost or stolen. Never try it again, and tell the customer no more "
        "than that it was declined.",
    ),
    "fraud": Meaning(
        "never",
        _GENERIC,
        "Suspected fraud. Never try it again, and tell the customer no more than that it was "
        "declined.",
    ),
    "not_permitted": Meaning(
        "no",
        "This card cannot be used for this payment. Please use another card.",
        "The card does not allow this kind of payment or this currency: ask for another one.",
    ),
    "revoked": Meaning(
        "never",
        "Your bank has stopped payments of this kind. Please use another card.",
        "The customer has withdrawn the permission at the bank. Never try it again.",
    ),
    "call_issuer": Meaning(
        "no",
        "Your card was declined. Please call your bank, or use another card.",
        "Only the bank can help the customer with this card.",
    ),
    "duplicate": Meaning(
        "look_up_first",
        "This looks like a payment that was made before. Please do not pay again yet.",
        "The gateway holds it for a repeat: look up the first payment before anything else.",
    ),
    "config_error": Meaning(
        "no",
        _AGAIN,
        "Not the customer's card: the gateway account, or the request, is not set up for this. "
        "The raw code says what.",
        elsewhere=True,
    ),
    "invalid_instrument": Meaning(
        "new_data",
        "Your card could not be used. Please enter it again.",
        "The gateway does not know the token, or it was used before: collect the card again.",
    ),
}

ELSEWHERE_AFTER: Final[frozenset[Retry]] = frozenset({"yes", "later", "limited"})


def retry_of(declined: Declined) -> Retry:
    """Whether another try makes sense: the gateway's advice first, then the class."""
    return declined.retry or MEANINGS[declined.decline].retry


def may_go_elsewhere(declined: Declined) -> bool:
    """Whether the same instrument may be tried at another gateway.

    A fault of our set-up at one gateway says nothing of the next; all else only where the bank did
    not refuse another try.
    """
    if not MEANINGS[declined.decline].elsewhere:
        return False
    retry = retry_of(declined)
    return retry in ELSEWHERE_AFTER or (declined.decline == "config_error" and retry == "no")
