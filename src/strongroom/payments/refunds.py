"""A refund: what it is, what can happen to it, and what becomes of it. Pure, without I/O.

A refund reserves its amount in the payment before anything is sent, and keeps it reserved until
the gateway's truth is known. It has one attempt, under one key at the gateway: what may have been
sent is only sent again under that key, within SAME_KEY_WINDOW of its opening. It may fail after it
succeeded, so it is looked at again for a month; the payment's sums go down then.
"""

from datetime import datetime, timedelta
from typing import Any, Final, Literal, assert_never
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from strongroom.payments.states import (
    Call,
    Leave,
    Look,
    Mismatched,
    NotPossible,
    NotSent,
    Open,
    Payment,
    Rest,
    Schedule,
    Send,
    Unknown,
    digest_of,
)

RefundStatus = Literal["processing", "pending", "succeeded", "failed", "outcome_unknown"]
RefundReason = Literal["duplicate", "fraudulent", "requested_by_customer"]

SAME_KEY_WINDOW: Final = timedelta(hours=20)
"""Stripe may forget a key after 24 h (docs.stripe.com/api/idempotent_requests)."""
RETRY_SECONDS: Final = (1, 2, 4, 8, 15, 30, 60, 60, 60, 60, 300)
PENDING_SECONDS: Final = (2, 5, 15, 60, 300, 3600)
UNDER_WAY_AFTER: Final = timedelta(minutes=5)
"""Longer than a call that was sent can still be under way: deadline, late listening, slack."""
REFUSED: Final = "refused_while_unknown"
AFTER_FAILED: Final = "refunded_after_failed"
GIVEN_UP_AFTER: Final = timedelta(days=1)
"""How long a look that learns nothing is repeated after the last one was due."""
NOT_FOUND: Final = "refund_not_found"
"""Under review, unless the gateway shows it after all."""
LOOKS_AFTER_SUCCESS: Final = tuple(
    timedelta(**{unit: number})
    for unit, number in (("hours", 1), ("days", 1), ("days", 5), ("days", 14), ("days", 30))
)
"""A refund can be returned by the bank up to 30 days later (docs.stripe.com/refunds)."""


class Refund(Struct, frozen=True, kw_only=True):
    """An amount that goes back to the customer, and its one attempt at the payment's gateway.

    `opened_at` and `parameters` are committed before anything is sent. `metadata` stands here
    only in rows from before it was sealed (texts.py).
    """

    legal_entity_id: UUID
    refund_id: UUID
    payment_id: UUID
    status: RefundStatus
    status_reason: str | None = None
    review: str | None = None
    amount_minor: int
    currency: str
    reason: RefundReason | None = None
    metadata: dict[str, str] = {}
    gateway: str
    gateway_account_id: UUID
    gateway_key: str
    gateway_object_id: str | None = None
    parameters: dict[str, Any] | None = None
    opened_at: datetime | None = None
    digest_salt: bytes
    created_at: datetime
    updated_at: datetime

    def row_digest(self) -> bytes:
        """SHA-256 over the row's canonical JSON, salt included: 32 bytes.

        Opening leaves no event, so what it writes is not covered.
        """
        return digest_of(replace(self, opened_at=None, parameters=None))


class Refunded(Struct, frozen=True):
    """The gateway has the refund under this id, and says how it stands."""

    object_id: str
    status: Literal["pending", "succeeded", "failed"]
    amount_minor: int
    currency: str
    why: str | None = None


class Refused(Struct, frozen=True):
    """The gateway did not take what was asked: no money went back, and nothing was reported."""

    why: str


class Absent(Struct, frozen=True):
    """The gateway shows no such refund. That proves nothing while one may be on its way."""


class NoneYet(Struct, frozen=True):
    """There is none, and there can be none before the charge has settled."""


class Several(Struct, frozen=True):
    """The gateway shows more than one refund that bears our reference."""

    count: int


RefundAnswer = Refunded | Refused | Absent | NoneYet | Several | NotSent | Unknown | Mismatched


class RefundAnswered(Struct, frozen=True):
    """A gateway answered for a refund: to a send or a look; perhaps late.

    `first`: it was the first send ever of this refund, by the claim that opened it, and nobody has
    claimed it since.
    """

    answer: RefundAnswer
    call: Call
    asked: Literal["send", "look"]
    tries: int
    first: bool = False


RefundEffect = Open | Send | Look | Schedule | Rest | Leave


class RefundDecision(Struct, frozen=True):
    """Payment and refund afterwards (the same objects when nothing changed), and what follows.

    `kind` names the event that a change leaves in the payment's history.
    """

    payment: Payment
    refund: Refund
    effect: RefundEffect
    kind: str | None = None


def refund_asked(payment: Payment, amount_minor: int | None, now: datetime) -> tuple[Payment, int]:
    """The payment with the amount reserved, and the amount: None asks for all that is left.

    Raises NotPossible.
    """
    if payment.review:
        raise NotPossible("payment_under_review")
    if payment.status != "succeeded":
        raise NotPossible("payment_not_refundable")
    amount_minor = payment.refundable_minor if amount_minor is None else amount_minor
    if not 0 < amount_minor <= payment.refundable_minor:
        raise NotPossible("refund_exceeds_captured")
    return payment.changed(
        now, refunding_minor=payment.refunding_minor + amount_minor
    ), amount_minor


def refund_due(refund: Refund) -> Open | Look | Rest:
    """What is to be done for a refund whose time has come."""
    if refund.review:
        return Rest()
    match refund.status:
        case "processing":
            # Opened before: a sender lost its lease or died, or was told that nothing was sent.
            return Open(1) if refund.opened_at is None else Look()
        case "outcome_unknown" | "pending" | "succeeded":
            return Look()
        case "failed":
            return Rest()
    assert_never(refund.status)


def refund_answered(
    payment: Payment, refund: Refund, answered: RefundAnswered, now: datetime
) -> RefundDecision:
    """What becomes of a refund and of its payment's sums by what the gateway said."""
    answer = answered.answer
    open_still = refund.status in ("processing", "outcome_unknown")
    if refund.review and not (refund.review == NOT_FOUND and isinstance(answer, Refunded)):
        return RefundDecision(payment, refund, Leave())
    match answer:
        case Refunded():
            if (answer.amount_minor, answer.currency) != (refund.amount_minor, refund.currency):
                return _freeze(payment, refund, "amount_mismatch", now)
            return _refunded(payment, refund, answer, answered, now)
        case Mismatched():
            return _freeze(payment, refund, "amount_mismatch", now)
        case Several():
            return _freeze(payment, refund, "several_refunds", now)
        case Refused() | Absent() | NoneYet() if not open_still:
            return _again(payment, refund, answered, now)
        case Refused():
            return _refused(payment, refund, answer, answered, now)
        case Absent() | NoneYet():
            return _absent(payment, refund, answered, now)
        case NotSent():
            return _not_sent(payment, refund, answered, now)
        case Unknown():
            if refund.status != "processing":
                return _again(payment, refund, answered, now)
            return _changed(
                payment,
                refund,
                _after(RETRY_SECONDS, answered, now),
                now,
                status="outcome_unknown",
                status_reason="no_answer_from_gateway",
            )
    assert_never(answer)


def _not_sent(
    payment: Payment, refund: Refund, answered: RefundAnswered, now: datetime
) -> RefundDecision:
    if answered.first and refund.status == "processing":
        # Nothing can be under way, so the window of its key has not begun.
        refund = replace(refund, opened_at=None, parameters=None)
    return _again(payment, refund, answered, now)


def _refused(
    payment: Payment, refund: Refund, answer: Refused, answered: RefundAnswered, now: datetime
) -> RefundDecision:
    """Refused for good, unless an earlier send of it may still arrive: then a look decides."""
    if answered.first and refund.status == "processing":
        return _moved(payment, refund, "failed", answer.why, now, None)
    if answered.asked == "look" and refund.status_reason == REFUSED:
        return _refused_still(payment, refund, answer.why, now)
    return _changed(
        payment,
        refund,
        Schedule(now + UNDER_WAY_AFTER),
        now,
        status="outcome_unknown",
        status_reason=REFUSED,
    )


def _refused_still(payment: Payment, refund: Refund, why: str, now: datetime) -> RefundDecision:
    """A look after it was refused brought nothing else: it ends once nothing can be under way."""
    over = refund.updated_at + UNDER_WAY_AFTER
    if now < over:
        return RefundDecision(payment, refund, Schedule(over))
    return _moved(payment, refund, "failed", why, now, None)


def _refunded(
    payment: Payment, refund: Refund, answer: Refunded, answered: RefundAnswered, now: datetime
) -> RefundDecision:
    if refund.status == "failed" and refund.gateway_object_id is None and answer.status != "failed":
        return _refunded_after_failed(payment, refund, answer, now)
    if refund.status in (answer.status, "failed"):
        # Known, or older than what is known: a refund that failed does not come back to life.
        return _again(payment, refund, answered, now)
    if refund.status == "succeeded" and answer.status == "pending":
        return _again(payment, refund, answered, now)
    return _moved(payment, refund, answer.status, answer.why, now, answer.object_id)


def _refunded_after_failed(
    payment: Payment, refund: Refund, answer: Refunded, now: datetime
) -> RefundDecision:
    """It was given up as refused, and money went back all the same: the sums have to say so."""
    if payment.left_minor >= refund.amount_minor:
        payment = replace(payment, refunding_minor=payment.refunding_minor + refund.amount_minor)
        refund = replace(refund, status="outcome_unknown")
        moved = _moved(payment, refund, answer.status, answer.why, now, answer.object_id)
        return replace(moved, refund=replace(moved.refund, review=AFTER_FAILED))
    return RefundDecision(
        payment.changed(now, review=payment.review or AFTER_FAILED),
        replace(refund, review=AFTER_FAILED, gateway_object_id=answer.object_id, updated_at=now),
        Rest(),
        "refund.frozen",
    )


def _absent(
    payment: Payment, refund: Refund, answered: RefundAnswered, now: datetime
) -> RefundDecision:
    """Not there, which proves nothing; under its own key it can be sent again for a while."""
    if refund.status_reason == REFUSED:
        return _refused_still(payment, refund, "refused_by_gateway", now)
    if isinstance(answered.answer, NoneYet):
        # What was sent before has come to nothing, so the window of its key begins anew.
        return _again(payment, replace(refund, opened_at=now), answered, now)
    if refund.opened_at is None or now - refund.opened_at >= SAME_KEY_WINDOW:
        # Its job stays as long as what was sent can still be heard of: it goes on with it then.
        return _freeze(payment, refund, NOT_FOUND, now, Schedule(now + UNDER_WAY_AFTER))
    if answered.asked == "look" and not payment.is_claimed_twice:
        return RefundDecision(payment, refund, Send())
    return _again(payment, refund, answered, now)


def _moved(
    payment: Payment,
    refund: Refund,
    status: Literal["pending", "succeeded", "failed"],
    why: str | None,
    now: datetime,
    object_id: str | None,
) -> RefundDecision:
    """The one place where sums change after a refund was accepted."""
    amount = refund.amount_minor
    reserved = refund.status != "succeeded"
    effect: RefundEffect
    refunding, refunded = payment.refunding_minor, payment.refunded_minor
    match status:
        case "pending":
            effect = Schedule(now + timedelta(seconds=PENDING_SECONDS[0]))
        case "succeeded":
            refunding, refunded = refunding - amount, refunded + amount
            effect = _look_after_success(refund, now)
        case _:
            refunding = refunding - amount if reserved else refunding
            refunded = refunded if reserved else refunded - amount
            effect = Rest()
    return RefundDecision(
        # What comes free is kept where a bank has a claim to it.
        payment.changed(now, refunding_minor=refunding, refunded_minor=refunded).withholding(),
        replace(
            refund,
            status=status,
            status_reason=why,
            review=None,
            gateway_object_id=object_id,
            updated_at=now,
        ),
        effect,
        "refund." + status,
    )


def _freeze(
    payment: Payment,
    refund: Refund,
    review: str,
    now: datetime,
    effect: RefundEffect | None = None,
) -> RefundDecision:
    """The amount stays reserved until a person has looked, unless it was given back before."""
    status = refund.status if refund.status in ("succeeded", "failed") else "outcome_unknown"
    return _changed(
        payment, refund, effect or Rest(), now, kind="refund.frozen", status=status, review=review
    )


def _changed(
    payment: Payment,
    refund: Refund,
    effect: RefundEffect,
    now: datetime,
    *,
    kind: str = "refund.outcome_unknown",
    **fields: Any,
) -> RefundDecision:
    """The refund changes and the sums do not; the payment's history says so all the same."""
    return RefundDecision(
        payment.changed(now), replace(refund, updated_at=now, **fields), effect, kind
    )


def _again(
    payment: Payment, refund: Refund, answered: RefundAnswered, now: datetime
) -> RefundDecision:
    effect: RefundEffect
    match refund.status:
        case "processing" | "outcome_unknown":
            effect = _after(RETRY_SECONDS, answered, now)
        case "pending":
            effect = _after(PENDING_SECONDS, answered, now)
        case "succeeded":
            effect = _look_after_success(refund, now)
            learnt = isinstance(answered.answer, Refunded)
            if not learnt and now < refund.created_at + LOOKS_AFTER_SUCCESS[-1] + GIVEN_UP_AFTER:
                effect = _after(PENDING_SECONDS, answered, now)
        case _:
            effect = Rest()
    return RefundDecision(payment, refund, effect)


def _after(steps: tuple[int, ...], answered: RefundAnswered, now: datetime) -> Schedule:
    step = steps[min(answered.tries, len(steps)) - 1] if answered.tries else 0
    return Schedule(now + timedelta(seconds=step))


def _look_after_success(refund: Refund, now: datetime) -> Schedule | Rest:
    for wait in LOOKS_AFTER_SUCCESS:
        if refund.created_at + wait > now:
            return Schedule(refund.created_at + wait)
    return Rest()
