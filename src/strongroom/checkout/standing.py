"""Where a link stands, for the page: from the link and the payment of its last try. Pure."""

from datetime import datetime
from typing import Final, Literal, assert_never

from msgspec import Struct

from strongroom.checkout import words
from strongroom.checkout.links import TRIES_MAX, Link
from strongroom.payments.states import Payment

Step = Literal["open", "processing", "action", "paid", "unknown", "closed"]
"""What the page shows: the card field, a wait, the way to the bank, or an end."""

ENDS: Final = ("paid", "closed")


class Standing(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the page is told. `number` is that of the next try, where one is possible."""

    step: Step
    message: str | None = None
    number: int | None = None
    action_url: str | None = None
    return_url: str | None = None


def standing_of(link: Link, payment: Payment, now: datetime) -> Standing:
    """What a customer who opens the link is to see."""
    if payment.review:
        return Standing(step="unknown", message=words.UNKNOWN)
    match payment.status:
        case "requires_payment_method":
            return _before_a_try(link, now, None)
        case "failed":
            return _before_a_try(link, now, words.of_decline(payment.status_reason))
        case "processing":
            return Standing(step="processing", message=words.PROCESSING)
        case "requires_action":
            url = _web_address((payment.next_action or {}).get("url"))
            return Standing(step="action", message=words.AT_THE_BANK, action_url=url)
        case "authorized" | "succeeded":
            return Standing(step="paid", message=words.PAID, return_url=link.return_url)
        case "outcome_unknown":
            return Standing(step="unknown", message=words.UNKNOWN)
        case "canceled":
            expired = now >= link.expires_at
            return _closed(link, words.EXPIRED if expired else words.CANCELED)
    assert_never(payment.status)


def _before_a_try(link: Link, now: datetime, declined: str | None) -> Standing:
    if link.revoked_at is not None:
        return _closed(link, words.REVOKED)
    if now >= link.expires_at:
        return _closed(link, words.EXPIRED)
    if link.tries >= TRIES_MAX:
        return _closed(link, words.TOO_OFTEN)
    return Standing(step="open", message=declined, number=link.tries + 1)


def _closed(link: Link, message: str) -> Standing:
    return Standing(step="closed", message=message, return_url=link.return_url)


def _web_address(url: object) -> str | None:
    """The address, unless it is of another kind than a browser is to be sent to."""
    return url if isinstance(url, str) and url.startswith(("https://", "http://")) else None
