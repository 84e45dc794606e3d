"""A payment that was paid, given back in part and disputed, as a log and a bundle have it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from msgspec.structs import replace

from strongroom.ids import new_id, to_text
from strongroom.log.bundles import EXPORTED, exported_of, make_bundle
from strongroom.log.entries import Entry
from strongroom.log.notes import Checkpoint, NoteKey, sign_note
from strongroom.log.stories import (
    Standing,
    Story,
    ToldAttempt,
    ToldDispute,
    ToldEvent,
    ToldRefund,
)
from strongroom.log.tiles import TileFolder
from strongroom.log.tree import NO_LEAVES, leaf_hash

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
ENTITY = new_id(1_790_000_000_000_000, UUID(int=7))
PAYMENT, OTHER = (new_id(1_790_000_000_000_000 + number, ENTITY) for number in (1, 2))
REFUND, DISPUTE = (new_id(1_790_000_000_000_000 + number, ENTITY) for number in (3, 4))
ORIGIN = f"example.com/payments/{to_text('ent', ENTITY)}"
KEY = NoteKey.new(ORIGIN)
ATTEMPT = {"no": 1, "state": "approved", "gateway_object_id": "pi_1", "opened_at": NOW}
REFUNDED = {
    "id": REFUND, "status": "processing", "status_reason": None, "review": None,
    "amount_minor": 500, "currency": "EUR", "reason": None, "gateway_account_id": None,
    "gateway_object_id": None, "row_digest": "00",
}  # fmt: skip
DISPUTED = {
    "id": DISPUTE, "status": "needs_response", "amount_minor": 1499, "currency": "EUR",
    "disputed_minor": 1499, "reason": "fraudulent", "evidence_due_by": NOW + timedelta(days=7),
    "gateway_account_id": None, "gateway_object_id": "dp_1", "row_digest": "00",
}  # fmt: skip
HAPPENED: list[tuple[str, dict[str, Any]]] = [
    ("payment.accepted", {"status": "processing", "amount_minor": 1999, "currency": "EUR",
                          "merchant_reference": "order-1", "gateway": "stripe"}),
    ("payment.succeeded", {"status": "succeeded", "captured_minor": 1999, "attempt": ATTEMPT}),
    ("refund.accepted", {"refunding_minor": 500, "refund": REFUNDED}),
    ("refund.succeeded", {"refunding_minor": 0, "refunded_minor": 500,
                          "refund": {**REFUNDED, "status": "succeeded",
                                     "gateway_object_id": "re_1"}}),
    ("dispute.opened", {"disputed_minor": 1499, "dispute": DISPUTED}),
    ("dispute.evidence_asked", {"dispute": {"id": DISPUTE}, "answer": {"kind": "evidence"}}),
]  # fmt: skip


def entry(
    subject: UUID, version: int, kind: str, payload: Mapping[str, Any], actor: str = "key:key_1"
) -> Entry:
    content = msgspec.json.encode(payload, order="deterministic")
    return Entry(
        kind=kind, subject_id=subject, version=version, at=NOW + timedelta(seconds=version),
        row_format=4, row_digest=sha256(content).digest(), actor=actor, payload=content,
    )  # fmt: skip


def entries_of(subject: UUID) -> list[Entry]:
    return [entry(subject, number, *one) for number, one in enumerate(HAPPENED, 1)]


def story_of(subject: UUID = PAYMENT) -> Story:
    """What is to be told of it."""
    return Story(
        payment=to_text("pay", subject),
        legal_entity=to_text("ent", ENTITY),
        version=len(HAPPENED),
        standing=Standing(
            status="succeeded", amount_minor=1999, currency="EUR", merchant_reference="order-1",
            gateway="stripe", captured_minor=1999, refunded_minor=500, disputed_minor=1499,
        ),
        attempts=[
            ToldAttempt(
                no=1, kind="sale", state="approved", gateway="stripe", gateway_object_id="pi_1",
                amount_minor=1999, currency="EUR", opened_at=NOW,
                calls=[{"operation": "create", "duration_ms": 12.5, "outcome": "created"}],
            )
        ],
        refunds=[
            ToldRefund(
                id=to_text("ref", REFUND), status="succeeded", status_reason=None, review=None,
                amount_minor=500, currency="EUR", reason=None, gateway_object_id="re_1", calls=[],
            )
        ],
        disputes=[
            ToldDispute(
                id=to_text("dsp", DISPUTE), status="needs_response", amount_minor=1499,
                currency="EUR", disputed_minor=1499, reason="fraudulent",
                evidence_due_by=NOW + timedelta(days=7), gateway_object_id="dp_1",
            )
        ],
        events=[
            ToldEvent(
                version=one.version, kind=one.kind, at=one.at, actor=one.actor,
                payload=msgspec.json.decode(one.payload),
            )
            for one in entries_of(subject)
        ],
        next_look_at=None,
    )  # fmt: skip


class Kept:
    """A log that has two such payments, and an export of each of these stories."""

    def __init__(
        self, path: Path, *stories: Story, key: NoteKey = KEY, by: str = "operator:ada"
    ) -> None:
        self.folder, self.stories, self.key = TileFolder(path), stories, key
        self.entries: list[bytes] = []
        for mine, other in zip(entries_of(PAYMENT), entries_of(OTHER), strict=True):
            self.entries += [mine.content(), other.content()]
        for number, story in enumerate(stories, 1):
            said = {**exported_of(story), "outcome": "succeeded"}
            self.entries.append(entry(ENTITY, number, EXPORTED, said, by).content())
        self.folder.append(0, self.entries)
        self.note = self.signed(len(self.entries))
        self.folder.write_checkpoint(self.note)

    def signed(self, size: int) -> bytes:
        root = NO_LEAVES.extended([*map(leaf_hash, self.entries[:size])]).root()
        return sign_note(Checkpoint(self.key.name, size, root).text(), self.key)

    def placed(self, subject: UUID, count: int = len(HAPPENED)) -> list[tuple[int, bytes]]:
        at = 0 if subject == PAYMENT else 1
        return [(index, self.entries[index]) for index in range(at, 2 * count, 2)]

    def exported(self, number: int = 0) -> tuple[int, bytes]:
        index = 2 * len(HAPPENED) + number
        return index, self.entries[index]

    def bundle(self, number: int = 0) -> bytes:
        """Of the story of this number. Raises LogRefused where it does not hold."""
        story = self.stories[number]
        subject = PAYMENT if story.payment == to_text("pay", PAYMENT) else OTHER
        return make_bundle(
            story, self.exported(number), self.placed(subject), self.folder, self.key.verifier,
            self.note,
        )  # fmt: skip


def changed(story: Story, part: str, changes: Sequence[tuple[str, Any]]) -> Story:
    """The story with other values in its standing, or in the first of a list of it."""
    found = getattr(story, part)
    if isinstance(found, list):
        return replace(story, **{part: [replace(found[0], **dict(changes)), *found[1:]]})
    return replace(story, **{part: replace(found, **dict(changes))})
