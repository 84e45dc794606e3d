"""What a customer is told, in plain words: of a decline no more than helps, of fraud nothing."""

from typing import Final

GENERIC: Final = (
    "Your card was declined. No money was taken. Try another card, or ask your bank why."
)
BY_DECLINE: Final = {
    "insufficient_funds": "Your card does not have enough funds for this payment. No money was "
    "taken. Try another card.",
    "limit_exceeded": "This payment is beyond a limit of your card. No money was taken. Try "
    "another card, or ask your bank.",
    "try_again": "Your bank could not process the payment just now. No money was taken. Please "
    "try again.",
    "gateway_unavailable": "The payment could not be processed just now. No money was taken. "
    "Please try again.",
    "authentication_required": "Your bank wants to be sure that it is you. No money was taken. "
    "Please try again, and confirm the payment when your bank asks.",
    "authentication_failed": "Your bank could not confirm that it is you. No money was taken. "
    "Please try again, or use another card.",
    "expired_card": "Your card has expired. No money was taken. Try another card.",
    "invalid_card": "The card number or the expiry date is not right. No money was taken. Check "
    "them and try again.",
    "incorrect_cvc": "The security code is not right. No money was taken. Check it and try again.",
    "avs_mismatch": "The billing address does not match your card. No money was taken. Check it "
    "and try again.",
    "not_permitted": "Your card does not allow this payment. No money was taken. Try another card.",
    "call_issuer": "Your bank declined the payment. No money was taken. Ask your bank, or try "
    "another card.",
    "invalid_instrument": "The card details could not be used. No money was taken. Please enter "
    "them again.",
}
"""By the reason of a payment that failed. What is not here, as a card that was reported lost, and
what looks like fraud, is told as GENERIC: whoever tries stolen cards learns nothing."""

PROCESSING: Final = "Your payment is being processed. Please do not close this page."
AT_THE_BANK: Final = "Your bank asks you to confirm this payment."
PAID: Final = "Thank you. Your payment was made."
UNKNOWN: Final = (
    "We do not know yet whether your payment went through. Please do not pay again: we are finding "
    "out, and this page will say so."
)
EXPIRED: Final = "This link has expired. No money was taken. Ask for a new one."
REVOKED: Final = "This link is no longer valid. No money was taken. Ask for a new one."
CANCELED: Final = "This payment was canceled. No money was taken."
TOO_OFTEN: Final = (
    "No more cards can be tried with this link. No money was taken. Ask for a new link."
)
TAKEN: Final = "This order is being paid in another way. This link took no money."


def of_decline(reason: str | None) -> str:
    """What to tell about a payment that failed."""
    return BY_DECLINE.get(reason or "", GENERIC)
