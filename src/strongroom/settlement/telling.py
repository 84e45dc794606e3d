"""Sends answers to disputes, and writes down what becomes of them."""

from datetime import datetime
from typing import Final, NamedTuple

import asyncpg
import structlog

from strongroom.database import Connection
from strongroom.gateways.port import Account
from strongroom.payments.journal import changes_payload
from strongroom.payments.refunds import UNDER_WAY_AFTER
from strongroom.payments.states import Call, NotSent, Unknown
from strongroom.settlement.answers import (
    AnswerStatus,
    DisputeAnswer,
    SendAnswer,
    answer_due,
    event_kind,
    open_evidence,
)
from strongroom.settlement.disputes import DisputeDecision, Seen
from strongroom.settlement.port import NotTaken, SettlementGateway, Told
from strongroom.settlement.rows import SQL, answer_of, dispute_summary
from strongroom.vault.errors import KeyMissing, Unreadable
from strongroom.vault.keys import UNAVAILABLE, Keyring
from strongroom.work.calls import Calls

UNREADABLE: Final = "evidence_unreadable"

log = structlog.get_logger()


class DueAnswer(NamedTuple):
    """An answer that is to be sent, to a dispute as it was just seen."""

    answer: DisputeAnswer
    seen: Seen
    first: bool
    alone: bool
    """Whether nothing that was sent for it before can be under way any more."""


class Ended(NamedTuple):
    """How the answer that was sent has ended."""

    status: AnswerStatus
    why: str | None = None


class Teller:
    """Tells gateways, by one process's calls and keys."""

    def __init__(self, calls: Calls, keyring: Keyring) -> None:
        self._calls, self._keyring = calls, keyring

    async def tell(
        self, account: Account, gateway: SettlementGateway, due: DueAnswer
    ) -> tuple[Told, Call | None]:
        """What the gateway says to it.

        NotTaken where its texts can be read no more; NotSent, and no call, where not just now.
        """
        answer, object_id = due.answer, due.seen.object_id
        if answer.kind == "accept":
            asking = gateway.give_in(account, object_id, answer.gateway_key)
        else:
            try:
                sealed = answer.sealed or b""
                keys = await self._keyring.opening(answer.legal_entity_id, [sealed])
                texts = open_evidence(keys, answer.answer_id, sealed)
            except (Unreadable, KeyMissing) as error:
                log.error("evidence_not_read", error=type(error).__name__)
                now = self._calls.clock.now()
                none = Call(operation="read", started_at=now, duration_ms=0.0, outcome=UNREADABLE)
                return NotTaken(UNREADABLE), none
            except UNAVAILABLE as error:
                log.warning("evidence_not_read", error=type(error).__name__)
                return NotSent("vault_unavailable"), None
            asking = gateway.give_evidence(
                account, object_id, texts, answer.gateway_key, submit=answer.submits
            )
        silence: Told = Unknown("no_answer")
        return await self._calls.ask(account, "tell_dispute", asking, silence)


async def settle_answer(
    connection: Connection,
    decision: DisputeDecision,
    seen: Seen,
    call: Call,
    ended: Ended | None,
    *,
    actor: str,
    now: datetime,
) -> DueAnswer | None:
    """Ends the answer that is under way, or opens it: then it is to be sent now.

    Under the lock of the payment, after the dispute itself was settled.
    """
    dispute = decision.dispute
    entity = dispute.legal_entity_id
    row = await connection.fetchrow(SQL["open_answer"], entity, dispute.dispute_id)
    if row is None:
        return None
    answer = answer_of(row)
    if ended is None:
        due = answer_due(dispute, answer, now)
        if isinstance(due, SendAnswer):
            of, sent_at = (entity, answer.answer_id), row["updated_at"]  # the last time, if any
            await connection.execute(SQL["answer_opened"], *of, now, dispute.submissions)
            alone = due.first or now - sent_at >= UNDER_WAY_AFTER
            return DueAnswer(answer, seen, due.first, alone)
        ended = Ended(due.status, due.why)
    after = decision.payment.changed(now)
    told = {"id": answer.answer_id, "kind": answer.kind, "submits": answer.submits}
    rows = await connection.fetch(
        SQL["end_answer"],
        entity,
        dispute.payment_id,
        after.version,
        now,
        event_kind(answer, ended.status),
        actor,
        after.row_digest(),
        changes_payload(
            decision.payment,
            after,
            call=call,
            dispute=dispute_summary(dispute),
            answer={**told, "status": ended.status, "reason": ended.why},
        ),
        answer.answer_id,
        ended.status,
        ended.why,
    )
    if len(rows) != 1:
        raise asyncpg.SerializationError("a payment changed under its lock")
    return None
