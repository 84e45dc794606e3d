"""Where a payment may go, and why it was turned away where it was. Plain frozen values."""

from collections.abc import Iterable
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

DeclineClass = Literal[
    "insufficient_funds",
    "limit_exceeded",
    "generic_decline",
    "try_again",
    "authentication_required",
    "authentication_failed",
    "expired_card",
    "invalid_card",
    "incorrect_cvc",
    "avs_mismatch",
    "lost_stolen",
    "fraud",
    "not_permitted",
    "revoked",
    "call_issuer",
    "duplicate",
    "config_error",
    "invalid_instrument",
]

Retry = Literal[
    "yes",
    "later",
    "limited",
    "after_authentication",
    "new_data",
    "look_up_first",
    "no",
    "never",
]
"""Whether, and how, a declined payment may be tried again with the same instrument."""


class Way(Struct, frozen=True, kw_only=True):
    """An account that a payment may go to, with the instrument's token there, if there is one."""

    gateway: str
    gateway_account_id: UUID
    token: str | None = None


def without_tokens(ways: Iterable[Way]) -> list[Way]:
    """The accounts alone: tokens of another instrument than that which pays now are not used."""
    return [replace(way, token=None) for way in ways]


AWAY: Final = "off_session"
RECURRING: Final = "recurring"

Purpose = Literal["unscheduled", "recurring"]
"""What a customer agreed to be charged for while away: now and then, or by a schedule."""


class ChargeToken(Struct, frozen=True):
    """What a payment carries to be paid by a saved instrument.

    `away` is what its owner, who is away, agreed to; None: the owner is there.
    """

    gateway_customer: str
    token: str
    away: Purpose | None = None

    def text(self) -> str:
        """In one text. No token that a caller can bring has a slash in it."""
        parts = [self.gateway_customer, self.token]
        if self.away is not None:
            parts.append(AWAY)
        if self.away == "recurring":
            parts.append(RECURRING)
        return "/".join(parts)


def charge_token(text: str | None) -> ChargeToken | None:
    """What `ChargeToken.text` wrote; None for a token that a caller brought."""
    parts = (text or "").split("/")
    if len(parts) < 2:
        return None
    away: Purpose | None = None
    if parts[2:3] == [AWAY]:
        away = "recurring" if parts[3:] == [RECURRING] else "unscheduled"
    return ChargeToken(parts[0], parts[1], away)


class Considered(Struct, frozen=True):
    """A rule that was looked at, and why it was passed over, or None."""

    rule: str
    why: str | None


class Route(Struct, frozen=True, kw_only=True):
    """Which rule decided where a payment goes, or None, and those that were looked at."""

    rule: str | None
    considered: tuple[Considered, ...] = ()


class Refusal(Struct, frozen=True, kw_only=True):
    """Why an attempt was declined, as its gateway said it, and whether to try again."""

    attempt_no: int
    decline: DeclineClass
    raw_code: str
    retry: Retry
