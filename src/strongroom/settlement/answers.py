"""What a merchant tells a bank about a dispute: evidence, or that he gives in.

Pure but for sealing. An answer is written down before it is sent. What may have been sent is looked
for first, and sent again where the gateway shows that it did not come: a dispute takes it once.
"""

import hashlib
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from strongroom.settlement.disputes import AWAITS_US, Dispute
from strongroom.vault.envelope import Column
from strongroom.vault.keys import EntityKeys

AnswerKind = Literal["evidence", "accept"]
AnswerStatus = Literal["processing", "done", "refused", "outcome_unknown"]

SENT_AGAIN_FOR: Final = timedelta(hours=20)
"""Then a person looks; what is left of the bank's deadline is theirs."""
LABEL: Final = Column("dispute_answers", "sealed").label
SALT_BYTES: Final = 16
OVER: Final = "dispute_is_over"
NO_ANSWER: Final = "no_answer_from_gateway"


class DisputeAnswer(Struct, frozen=True, kw_only=True):
    """One answer to one dispute. `opened_at` is committed before anything is sent."""

    legal_entity_id: UUID
    answer_id: UUID
    dispute_id: UUID
    kind: AnswerKind
    submits: bool
    status: AnswerStatus
    status_reason: str | None
    sealed: bytes | None
    gateway_key: str
    submissions_before: int | None
    opened_at: datetime | None


class AnswerShown(Struct, frozen=True, kw_only=True):
    """What everybody may see of an answer."""

    kind: AnswerKind
    submits: bool
    status: AnswerStatus
    status_reason: str | None
    created_at: datetime


class SendAnswer(Struct, frozen=True):
    """Send it, or send it again; `first`: nothing of it can be under way."""

    first: bool


class AnswerEnded(Struct, frozen=True):
    """Nothing more is sent for it."""

    status: AnswerStatus
    why: str | None = None


def answer_due(dispute: Dispute, answer: DisputeAnswer, now: datetime) -> SendAnswer | AnswerEnded:
    """What is to be done for an answer, by the dispute as the gateway has just shown it."""
    awaits = dispute.status in AWAITS_US
    if answer.opened_at is None or answer.submissions_before is None:
        return SendAnswer(first=True) if awaits else AnswerEnded("refused", OVER)
    if answer.kind == "accept" and not awaits:
        lost = dispute.status in ("lost", "warning_closed")
        return AnswerEnded("done") if lost else AnswerEnded("outcome_unknown", OVER)
    if answer.submits and dispute.submissions > answer.submissions_before:
        return AnswerEnded("done")
    if awaits and now - answer.opened_at < SENT_AGAIN_FOR:
        return SendAnswer(first=False)
    return AnswerEnded("outcome_unknown", NO_ANSWER if awaits else OVER)


def event_kind(answer: DisputeAnswer, status: AnswerStatus) -> str:
    """The name of the event that its end leaves in the payment's history."""
    if status != "done":
        return f"dispute.{answer.kind}_{status}"
    if answer.kind == "accept":
        return "dispute.accepted"
    return "dispute.evidence_submitted" if answer.submits else "dispute.evidence_staged"


def seal_evidence(
    keys: EntityKeys, answer_id: UUID, texts: dict[str, str], salt: bytes
) -> tuple[bytes, bytes]:
    """Evidence sealed for its row, and 32 bytes that commit to it; `salt` is SALT_BYTES long."""
    content = salt + msgspec.json.encode(texts, order="deterministic")
    return keys.seal(LABEL, answer_id.bytes, content), hashlib.sha256(content).digest()


def open_evidence(keys: EntityKeys, answer_id: UUID, sealed: bytes) -> dict[str, str]:
    """What was sealed for this row. Raises Unreadable and KeyMissing of vault.errors."""
    content = keys.open(LABEL, answer_id.bytes, sealed)
    texts: Any = msgspec.json.decode(content[SALT_BYTES:], type=dict[str, str])
    return dict(texts)
