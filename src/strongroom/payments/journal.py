"""What a decision writes: the event's canonical payload, and the columns of the statements."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec import UNSET, Struct, UnsetType

from strongroom.payments.refunds import Refund
from strongroom.payments.rows import json_text
from strongroom.payments.states import (
    Answered,
    Attempt,
    AttemptState,
    Call,
    Decision,
    Payment,
    Rest,
    Schedule,
    Withheld,
)
from strongroom.payments.ways import Route


class Verdict(NamedTuple):
    """A decision with the payment that it was made on, ready to be written."""

    payment: Payment
    decision: Decision
    payload: bytes
    lease: int
    attempt: Attempt | None
    answered: Answered | None = None


def accepted_payload(
    payment: Payment,
    idempotency_key: str,
    commitment: bytes | None = None,
    route: Route | None = None,
    calculation_id: UUID | None = None,
) -> bytes:
    """The first event of a payment: references and amounts, no personal data.

    `commitment` is that of its texts, where it has some; `route` says why it goes where it goes,
    `calculation_id` what it is taxed by.
    """
    return msgspec.json.encode(
        _AcceptedContent(
            amount_minor=payment.amount_minor,
            capture=payment.capture,
            currency=payment.currency,
            gateway=payment.gateway,
            gateway_account_id=payment.gateway_account_id,
            idempotency_key=idempotency_key,
            merchant_reference=payment.merchant_reference,
            not_after=payment.not_after,
            route=UNSET if route is None else route_told(route).get("route", UNSET),
            status=payment.status,
            tax_calculation=UNSET if calculation_id is None else calculation_id,
            texts=UNSET if commitment is None else commitment.hex(),
            ways=_ways_told(payment) if payment.ways else UNSET,
        ),
        order="deterministic",
    )


class _AcceptedContent(Struct, frozen=True, kw_only=True):
    """In the order of the names, as canonical JSON has them."""

    amount_minor: int
    capture: str
    currency: str
    gateway: str | None
    gateway_account_id: UUID | None
    idempotency_key: str
    merchant_reference: str
    not_after: datetime
    route: dict[str, Any] | UnsetType
    status: str
    tax_calculation: UUID | UnsetType
    texts: str | UnsetType
    ways: list[list[Any]] | UnsetType


def _ways_told(payment: Payment) -> list[list[Any]]:
    """Without the tokens, as everywhere in events."""
    return [[way.gateway, way.gateway_account_id] for way in payment.ways]


def route_told(route: Route | None) -> dict[str, Any]:
    """What an event says of a route: nothing where no rule was looked at."""
    if route is None or not route.considered:
        return {}
    considered = [[one.rule, one.why] for one in route.considered]
    return {"route": {"rule": route.rule, "considered": considered}}


_STATE_FIELDS = (
    "status",
    "status_reason",
    "review",
    "captured_minor",
    "capture_minor",
    "capture_before",
    "refunding_minor",
    "refunded_minor",
    "disputed_minor",
    "withheld_minor",
    "attempt_no",
    "closing",
    "closing_reason",
    "gateway",
    "gateway_account_id",
    "decline",
)


def payload_of(
    before: Payment, decision: Decision, attempt: Attempt | None, call: Call | None
) -> bytes:
    """Canonical JSON of what changed, enough to fold the payment's state out of its events."""
    return changes_payload(before, decision.payment, attempt, call, decision.attempt_state)


def changes_payload(
    before: Payment,
    after: Payment,
    attempt: Attempt | None = None,
    call: Call | None = None,
    attempt_state: AttemptState | None = None,
    **more: object,
) -> bytes:
    """As `payload_of`, with whatever else the event has to say; empty when nothing changed."""
    if after is before:
        return b""
    content: dict[str, Any] = {
        name: getattr(after, name)
        for name in _STATE_FIELDS
        if getattr(after, name) != getattr(before, name)
    }
    if after.ways != before.ways:
        content["ways"] = _ways_told(after)
    if attempt is not None:
        content["attempt"] = {
            "no": attempt.attempt_no,
            "state": attempt_state,
            "gateway_object_id": attempt.gateway_object_id,
            "opened_at": attempt.opened_at,
        }
    if call is not None:
        content["call"] = call
    content.update(more)
    return msgspec.json.encode(content, order="deterministic")


def refund_summary(refund: Refund) -> dict[str, object]:
    """What an event says of a refund; the digest covers the whole of its row."""
    return {
        "id": refund.refund_id,
        "status": refund.status,
        "status_reason": refund.status_reason,
        "review": refund.review,
        "amount_minor": refund.amount_minor,
        "currency": refund.currency,
        "reason": refund.reason,
        "gateway_account_id": refund.gateway_account_id,
        "gateway_object_id": refund.gateway_object_id,
        "row_digest": refund.row_digest().hex(),
    }


def verdict_columns(verdicts: Sequence[Verdict]) -> tuple[list[Any], ...]:
    """One array a column of the statement `apply`."""
    rows = []
    for verdict in verdicts:
        after, effect = verdict.decision.payment, verdict.decision.effect
        run_at = effect.run_at if isinstance(effect, Schedule) else None
        job = "schedule" if run_at else "rest" if isinstance(effect, Rest) else "leave"
        rows.append(
            (
                after.legal_entity_id,
                after.payment_id,
                after.version,
                after.status,
                after.status_reason,
                after.review,
                after.captured_minor,
                after.capture_minor,
                after.capture_before,
                after.attempt_no,
                after.closing,
                after.closing_reason,
                None if after.next_action is None else json_text(after.next_action),
                after.updated_at,
                verdict.decision.kind,
                after.row_digest(),
                verdict.payload,
                job,
                run_at,
                isinstance(effect, Rest) and effect.release,
                verdict.lease,
                after.gateway,
                after.gateway_account_id,
                after.instrument_token,
                json_text(after.ways) if after.ways else None,
                None if after.decline is None else json_text(after.decline),
            )
        )
    return tuple(list(column) for column in zip(*rows, strict=True))


def opened_columns(opened: Sequence[tuple[Payment, Attempt]]) -> tuple[list[Any], ...]:
    """One array a column of the statement `open_attempts`."""
    rows = [
        (
            payment.legal_entity_id,
            payment.payment_id,
            attempt.attempt_no,
            attempt.kind,
            attempt.gateway,
            attempt.gateway_account_id,
            attempt.gateway_key,
            attempt.staged,
            attempt.amount_minor,
            attempt.currency,
            json_text(attempt.parameters),
        )
        for payment, attempt in opened
    ]
    return tuple(list(column) for column in zip(*rows, strict=True))


def leaves_attempt(verdict: Verdict) -> bool:
    """Whether the attempt's row has to change: its state, its calls, or its object's id."""
    return bool(
        verdict.decision.attempt_state or keeps_call(verdict) or object_id_of(verdict) is not None
    )


def object_id_of(verdict: Verdict) -> str | None:
    """The gateway's id that came with the answer, where the attempt had none before it."""
    answered = verdict.answered
    if answered is None or answered.attempt.staged:
        return None
    return answered.call.object_id


def keeps_call(verdict: Verdict) -> bool:
    """Whether the attempt has to remember the call: an event does, and a look teaches nothing."""
    answered = verdict.answered
    if answered is None or isinstance(answered.answer, Withheld):
        return False
    return not verdict.decision.kind and answered.asked != "look"


def attempt_columns(verdicts: Sequence[Verdict]) -> tuple[list[Any], ...]:
    """One array a column of the statement `settle_attempts`."""
    return (
        [v.payment.legal_entity_id for v in verdicts],
        [v.payment.payment_id for v in verdicts],
        [v.attempt.attempt_no if v.attempt else 0 for v in verdicts],
        [v.decision.attempt_state for v in verdicts],
        [v.decision.decline for v in verdicts],
        [v.decision.raw_code for v in verdicts],
        [json_text([v.answered.call] if v.answered and keeps_call(v) else []) for v in verdicts],
        [object_id_of(v) for v in verdicts],
    )
