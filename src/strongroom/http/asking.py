"""What every operation begins and ends with: the caller's rights, and an answer in any case."""

from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

import asyncpg
import structlog

from strongroom.access.api_keys import ApiKeys, Credential
from strongroom.database import UNREACHABLE
from strongroom.errors import (
    Conflict,
    Forbidden,
    Invalid,
    Problem,
    Unavailable,
    described,
    no_such_payment,
)
from strongroom.http.exchange import Asked, Reply, internal_error, problem_reply
from strongroom.ids import MalformedId, from_text
from strongroom.payments.states import NotPossible
from strongroom.work.batch import OutcomeOfCommitUnknown, QueueFull, Refused

log = structlog.get_logger()


async def authorise(keys: ApiKeys, asked: Asked, scope: str) -> Credential:
    """The caller's credential. Raises Unauthenticated, and Forbidden without the scope."""
    credential = await keys.authenticate(asked.authorization)
    if scope not in credential.scopes:
        raise Forbidden(
            "scope_missing",
            f"The API key does not have the scope {scope}.",
            f"Use a key with {scope}; `strongroom keys create --scope {scope}` makes one.",
        )
    return credential


async def answer(operation: Callable[..., Awaitable[Reply]], *arguments: Any) -> Reply:
    """Runs an operation; whatever it raises becomes a problem document."""
    try:
        return await operation(*arguments)
    except Exception as error:  # noqa: BLE001 - no bug may leave a caller without an answer
        return problem_reply(problem_of(error))


def problem_of(error: Exception) -> Problem:
    """What a caller is told of an error; what is no refusal of ours is logged."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, QueueFull):
        return unavailable("queue_full", "Too many requests are waiting.")
    if isinstance(error, OutcomeOfCommitUnknown):
        return unavailable(
            "accept_unknown", "The database did not say whether the request is stored."
        )
    if isinstance(error, Refused):
        log.warning("refused_by_database", error=type(error.__cause__).__name__)
        return Invalid(
            "refused_by_database",
            "The database refused this request; nothing of it was stored.",
            "Check amounts and lengths; if they are right, tell the operator.",
        )
    if isinstance(error, (*UNREACHABLE, asyncpg.SerializationError)):
        log.warning("database_out_of_reach", error=type(error).__name__)
        return unavailable("database_unavailable", "The database does not answer.")
    log.error("operation_failed", **described(error))
    return internal_error()


def payment_id_of(text: str) -> UUID:
    """The id in its text form; malformed ones are unknown ones."""
    try:
        return from_text("pay", text)
    except MalformedId:
        raise no_such_payment() from None


def unavailable(code: str, detail: str) -> Unavailable:
    """Nothing was decided; the same request may be sent again."""
    return Unavailable(
        code,
        detail,
        "Send the same request with the same Idempotency-Key again; it cannot charge twice.",
        retry_after_seconds=1,
    )


def key_reused() -> Invalid:
    """The refusal of a key that stands for another request."""
    return Invalid(
        "idempotency_key_reused",
        "This Idempotency-Key was used before for a request with other content.",
        "Make a new key for a new intent; send the old content to get the old answer.",
    )


_REASONS: Final = {
    "payment_has_an_instrument": (
        "The payment has an instrument already.",
        "To continue after an action, confirm without an instrument; else make a new payment.",
    ),
    "not_after_passed": (
        "The time in which the payment may be sent has passed.",
        "Make a new payment.",
    ),
    "instrument_missing": (
        "The payment waits for an instrument.",
        "Confirm with an instrument.",
    ),
    "payment_is_over": (
        "The payment has come to its end.",
        "Look at its status; a charge that was made is given back by a refund.",
    ),
    "payment_is_closing": (
        "The payment is being canceled at its gateway.",
        "Wait until it leaves `processing`, e.g. by `Prefer: wait=10`.",
    ),
    "payment_under_review": (
        "The payment is frozen until a person has looked at it.",
        "Look at `review`; nothing can be asked of the payment before that is settled.",
    ),
    "payment_not_authorized": (
        "The payment holds no money that could be captured.",
        "Make it with `capture: manual` and wait for `authorized`.",
    ),
    "capture_under_way": (
        "A capture of this payment is under way.",
        "Wait until the payment leaves `processing`; a charge is given back by a refund.",
    ),
    "capture_exceeds_authorized": (
        "The amount is larger than what is held.",
        "Capture at most the payment's `amount`.",
    ),
    "outcome_not_known": (
        "It is not known yet whether this payment was charged.",
        "Wait: it is asked for at the gateway until it is known. Then cancel or refund.",
    ),
    "payment_not_refundable": (
        "Only a payment that has succeeded can be refunded.",
        "Wait until it has; a payment that took no money is canceled instead.",
    ),
    "refund_exceeds_captured": (
        "The amount is larger than what is left: captured, less what refunds gave back or hold.",
        "Ask for at most the payment's `refundable_amount`.",
    ),
}


def not_possible(refusal: NotPossible) -> Conflict:
    """The problem that says why the payment's state does not allow a command."""
    detail, what_to_do = _REASONS[refusal.code]
    return Conflict(refusal.code, detail, what_to_do)
