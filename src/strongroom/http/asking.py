"""What every operation begins and ends with: the caller's rights, and an answer in any case."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from strongroom.access.api_keys import ApiKeys, Credential
from strongroom.database import SERIALIZATION_FAILURES, UNREACHABLE
from strongroom.errors import (
    Forbidden,
    Invalid,
    Missing,
    Problem,
    Unavailable,
    described,
    no_such_payment,
)
from strongroom.http.exchange import Asked, Reply, internal_error, problem_reply
from strongroom.ids import MalformedId, from_text
from strongroom.log.window import NoWindow
from strongroom.vault.errors import Unreadable, VaultError
from strongroom.work.batch import OutcomeOfCommitUnknown, QueueFull, Refused

log = structlog.get_logger()


async def authorise(keys: ApiKeys, asked: Asked, scope: str) -> Credential:
    """The caller's credential. Raises Unauthenticated, and Forbidden without the scope."""
    credential = await keys.authenticate(asked.authorization)
    if scope not in credential.scopes:
        raise Forbidden("scope_missing", scope=scope)
    return credential


async def check_caller(keys: ApiKeys, asked: Asked, scope: str) -> None:
    """Raises what `authorise` does, and Problem for whatever else comes of it."""
    try:
        await authorise(keys, asked, scope)
    except Exception as error:  # noqa: BLE001 - no bug may leave a caller without an answer
        raise problem_of(error) from None


async def answer(operation: Callable[..., Awaitable[Reply]], *arguments: Any) -> Reply:
    """Runs an operation; whatever it raises becomes a problem document."""
    try:
        return await operation(*arguments)
    except Exception as error:  # noqa: BLE001 - no bug may leave a caller without an answer
        return problem_reply(problem_of(error))


async def held_back(window: NoWindow, legal_entity_id: UUID) -> Problem | None:
    """Why no money may be moved now; None where it may.

    What was asked for before under the same key is told all the same: it moves nothing.
    """
    if await window.is_open(legal_entity_id):
        return None
    return Unavailable("log_window_exceeded")


def problem_of(error: Exception) -> Problem:
    """What a caller is told of an error; what is no refusal of ours is logged."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, QueueFull):
        return Unavailable("queue_full")
    if isinstance(error, OutcomeOfCommitUnknown):
        return Unavailable("accept_unknown")
    if isinstance(error, Refused) and isinstance(error.__cause__, asyncpg.UniqueViolationError):
        # Keys and references are claimed without one. So a fresh id is that of another row, of the
        # same microsecond and by a chance of 2^-30; the next request draws a new one.
        log.warning("id_taken", table=error.__cause__.table_name)
        return Unavailable("accept_contended")
    if isinstance(error, Refused):
        log.warning("refused_by_database", error=type(error.__cause__).__name__)
        return Invalid("refused_by_database")
    if isinstance(error, Unreadable):
        log.error("sealed_value_unreadable", **described(error))
        return internal_error()
    if isinstance(error, VaultError):
        log.warning("vault_out_of_reach", error=type(error).__name__)
        return Unavailable("vault_unavailable")
    if isinstance(error, (*UNREACHABLE, *SERIALIZATION_FAILURES)):
        log.warning("database_out_of_reach", error=type(error).__name__)
        return Unavailable("database_unavailable")
    log.error("operation_failed", **described(error))
    return internal_error()


def method_id_of(text: str) -> UUID:
    """The id in its text form; malformed ones are unknown ones."""
    try:
        return from_text("pm", text)
    except MalformedId:
        raise Missing("payment_method_not_found") from None


def payment_id_of(text: str) -> UUID:
    """The id in its text form; malformed ones are unknown ones."""
    try:
        return from_text("pay", text)
    except MalformedId:
        raise no_such_payment() from None


def customer_id_of(text: str) -> UUID:
    """The id in its text form; malformed ones are unknown ones."""
    try:
        return from_text("cus", text)
    except MalformedId:
        raise Missing("customer_not_found") from None
