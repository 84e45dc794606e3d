"""How an instrument is saved at a gateway, and let go: states, answers, and what follows. Pure.

No money moves here. What must not happen is that one request saves two instruments, that one which
is shown as detached can still be charged, or that one is lost sight of.
"""

from datetime import datetime, timedelta
from typing import Any, Final, Literal, assert_never
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from strongroom.payments.states import (
    ActionRequired,
    Canceled,
    Declined,
    NotSent,
    Unknown,
    digest_of,
)
from strongroom.payments.ways import ChargeToken, charge_token
from strongroom.vault.envelope import Column

LABEL: Final = Column("payment_methods", "sealed").label
SAME_KEY_WINDOW: Final = timedelta(hours=20)
"""Stripe may forget a key after 24 h (docs.stripe.com/api/idempotent_requests)."""
RETRY_SECONDS: Final = (1, 2, 5, 10, 30, 60, 300, 900)
POLL_SECONDS: Final = (1, 1, 2, 2, 3, 5, 8, 15)
"""Waits between looks while the customer has something to do."""

AT_GATEWAY: Final = "detached_at_gateway"

MethodStatus = Literal["processing", "requires_action", "ready", "failed", "detaching", "detached"]


BY_PAYMENT: Final = "paid:"


def offered_by_payment(payment_id: UUID) -> str:
    """What stands for the token of an instrument that a payment has paid with."""
    return BY_PAYMENT + payment_id.hex


class Card(Struct, frozen=True, kw_only=True):
    """What may be shown of a card."""

    brand: str
    last4: str
    exp_month: int
    exp_year: int


class Saving(Struct, frozen=True, kw_only=True):
    """A payment method's row and its token: `sealed` is its Card, under its customer's key."""

    legal_entity_id: UUID
    payment_method_id: UUID
    customer_id: UUID
    version: int
    status: MethodStatus
    status_reason: str | None = None
    sealed: bytes | None = None
    next_action: dict[str, Any] | None = None
    return_url: str | None = None
    not_after: datetime
    digest_salt: bytes
    created_at: datetime
    updated_at: datetime
    gateway: str
    gateway_account_id: UUID
    offered: str
    setup_object: str | None = None
    token: str | None = None

    @property
    def adopted(self) -> "ChargeToken | None":
        """Whose it is at the gateway already, and its token there; None for one to be saved."""
        return charge_token(self.offered)

    @property
    def paid_with(self) -> bool:
        """Whether it is what a payment has paid with: `setup_object` is then that payment's."""
        return self.offered.startswith(BY_PAYMENT)

    @property
    def gateway_key(self) -> str:
        """What the keys of its calls at the gateway begin with."""
        return f"sr_{self.payment_method_id.hex}"

    def changed(self, now: datetime, **fields: object) -> "Saving":
        """The same with these fields, one version on."""
        return replace(self, version=self.version + 1, updated_at=now, **fields)

    def row_digest(self) -> bytes:
        """SHA-256 over the canonical JSON of both rows: 32 bytes."""
        return digest_of(self)


# What a gateway can answer.


class Made(Struct, frozen=True):
    """The gateway made an object under this id: a customer, or what saves an instrument."""

    object_id: str


class Saved(Struct, frozen=True):
    """The instrument is the customer's, and can be charged by this token.

    `card` is None for one that is no card; `owner` is the gateway's customer, where it was asked.
    """

    token: str
    card: Card | None
    owner: str | None = None


class Detached(Struct, frozen=True):
    """The gateway has no such instrument of the customer any more.

    `known` is false where it knows none by this token at all.
    """

    known: bool = True


class NotAdopted(Struct, frozen=True):
    """What the gateway has is not what was to be adopted."""

    why: str


SavingAnswer = (
    Saved | ActionRequired | Declined | Canceled | Detached | NotAdopted | NotSent | Unknown
)


# What is to be done.

AtWallet = Literal["prepare", "adopt", "keep", "save", "look", "cancel", "detach", "refresh"]
Step = AtWallet | Literal["give_up", "rest"]


def step_of(saving: Saving, now: datetime) -> Step:
    """What to do for one that is due. What may have been confirmed is looked at first."""
    match saving.status:
        case "processing":
            if saving.paid_with:
                return "keep" if now < saving.not_after else "give_up"
            if saving.setup_object is not None:
                return "look" if now < saving.not_after else "cancel"
            # Without an id that is on disk it was never confirmed: nothing is saved.
            if now >= saving.created_at + SAME_KEY_WINDOW:
                return "give_up"
            return "prepare" if saving.adopted is None else "adopt"
        case "requires_action":
            return "look" if now < saving.not_after else "cancel"
        case "detaching":
            return "detach"
        case "ready":
            return "refresh"
        case "failed" | "detached":
            return "rest"
    assert_never(saving.status)


def answered(saving: Saving, answer: SavingAnswer, now: datetime) -> Saving:
    """What becomes of it; the same object where nothing was learnt. `sealed` is the caller's."""
    match answer:
        case Saved(token=token):
            if saving.status == "detaching":
                return saving
            return saving.changed(
                now, status="ready", status_reason=None, next_action=None, token=token
            )
        case ActionRequired(action):
            if (saving.status, saving.next_action) == ("requires_action", action):
                return saving
            return saving.changed(now, status="requires_action", next_action=action)
        case Declined(decline):
            return _failed(saving, now, decline)
        case Canceled():
            asked = saving.status == "requires_action"
            return _failed(saving, now, "action_not_taken" if asked else "gateway_unavailable")
        case Detached():
            return saving.changed(now, status="detached", next_action=None)
        case NotAdopted(why):
            return _failed(saving, now, why)
        case NotSent() | Unknown():
            return saving
    assert_never(answer)


def adoption(adopted: ChargeToken, answer: SavingAnswer) -> SavingAnswer:
    """What a look at the instrument says of adopting it: it has to be that customer's, a card."""
    match answer:
        case Saved(token=token) if token != adopted.token:
            return Unknown("another_object")
        case Saved(owner=owner) if owner != adopted.gateway_customer:
            return NotAdopted("not_of_this_customer")
        case Saved(card=None):
            return NotAdopted("not_a_card")
        case Detached(known=known):
            return NotAdopted("not_of_this_customer" if known else "unknown_at_gateway")
        case _:
            return answer


def refreshed(saving: Saving, answer: SavingAnswer, now: datetime) -> Saving:
    """What becomes of one that is ready; that it has another card is the caller's to see."""
    if isinstance(answer, Detached):
        return saving.changed(now, status="detached", status_reason=AT_GATEWAY)
    return saving


def given_up(saving: Saving, now: datetime) -> Saving:
    """The gateway was away for too long, and nothing can have been saved."""
    return _failed(saving, now, "gateway_unavailable")


def wait_of(saving: Saving, tries: int) -> timedelta:
    """How long to wait before the next look or try."""
    waits = POLL_SECONDS if saving.status == "requires_action" else RETRY_SECONDS
    return timedelta(seconds=waits[min(tries, len(waits)) - 1 if tries else 0])


def _failed(saving: Saving, now: datetime, reason: str) -> Saving:
    return saving.changed(now, status="failed", status_reason=reason, next_action=None)
