"""What a batch of settled answers says: authorizations, declines, changes, and what was frozen."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from strongroom.payments.refunds import RefundDecision
from strongroom.payments.states import Answered, Decision, Payment
from strongroom.telemetry.metrics import Metrics

FROZEN: Final = {"payments": "payment.frozen", "refunds": "refund.frozen"}


class Settled(Protocol):
    """An answer on its way to disk, and what it was decided to become, each time it was tried."""

    @property
    def answered(self) -> Answered:
        """What the gateway said."""
        ...

    @property
    def tried(self) -> Sequence[Decision]:
        """The decisions, oldest first; the one that was committed is among them."""
        ...


class Stands(Protocol):
    """What stands in the database after it."""

    @property
    def payment(self) -> Payment:
        """The payment."""
        ...


def count_settled(metrics: Metrics, items: Iterable[Settled], results: Iterable[Stands]) -> None:
    """Counts each answer once, by the decision that was committed."""
    authorizations: Counter[tuple[str, str, str]] = Counter()
    changes: Counter[str] = Counter()
    for item, result in zip(items, results, strict=True):
        decision = committed(item, result)
        if decision is None or decision.kind is None:
            continue
        changes[decision.kind] += 1
        authorization = authorization_of(decision)
        if authorization is not None:
            authorizations[item.answered.attempt.gateway, *authorization] += 1
    for kind, count in changes.items():
        metrics.changes.labels(kind).inc(count)
    for labels, count in authorizations.items():
        metrics.authorizations.labels(*labels).inc(count)
    metrics.frozen.labels("payments").inc(changes[FROZEN["payments"]])


def count_refunds(metrics: Metrics, results: Iterable[RefundDecision]) -> None:
    """Counts what became of refunds."""
    changes = Counter(decision.kind for decision in results if decision.kind is not None)
    for kind, count in changes.items():
        metrics.changes.labels(kind).inc(count)
    metrics.frozen.labels("refunds").inc(changes[FROZEN["refunds"]])


def committed(item: Settled, result: Stands) -> Decision | None:
    """The decision that made the payment what it is; a lost COMMIT may have been an earlier one."""
    for decision in reversed(item.tried):
        if decision.payment is result.payment or decision.payment == result.payment:
            return decision
    return None


def authorization_of(decision: Decision) -> tuple[str, str] | None:
    """(`approved`, ``) or (`declined`, its class) where the gateway decided on the money; or None.

    A capture of what was held before is no second authorization, and a capture that was refused is
    no decline of the customer's.
    """
    kind, payment = decision.kind, decision.payment
    if kind == "payment.authorized" or (
        kind == "payment.succeeded" and payment.capture == "automatic"
    ):
        return "approved", ""
    if decision.decline is not None and kind in ("payment.closing", "payment.failed"):
        return "declined", decision.decline
    return None
