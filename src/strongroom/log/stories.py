"""What a bundle tells of a payment: how it stands, and what happened, in the words of `explain`.

Pure. All that entries of the log speak of is compared with them, so a story that says more, less or
something else is refused, whoever made it. What only our rows know, as calls that changed nothing,
is told too; for that the event of the export stands, which has the digest of the whole story.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct

from strongroom.ids import to_text
from strongroom.log.entries import Entry
from strongroom.log.verifying import LogRefused

if TYPE_CHECKING:
    from strongroom.payments.reads import History
    from strongroom.payments.states import Payment
    from strongroom.settlement.disputes import Dispute

Told = TypeVar("Told", bound=Struct)


class Standing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a payment stands after its last entry; each field is in the entries."""

    status: str
    status_reason: str | None = None
    review: str | None = None
    amount_minor: int
    currency: str
    merchant_reference: str
    gateway: str | None = None
    captured_minor: int = 0
    capture_before: datetime | None = None
    refunding_minor: int = 0
    refunded_minor: int = 0
    disputed_minor: int = 0


class ToldAttempt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One try at a gateway; `calls` are those that no event remembers."""

    no: int
    kind: str
    state: str
    gateway: str
    gateway_object_id: str | None
    amount_minor: int
    currency: str
    opened_at: datetime
    calls: list[dict[str, Any]]


class ToldRefund(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A refund as it stands; `calls` are those that no event remembers."""

    id: str
    status: str
    status_reason: str | None
    review: str | None
    amount_minor: int
    currency: str
    reason: str | None
    gateway_object_id: str | None
    calls: list[dict[str, Any]]


class ToldDispute(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A dispute as it stands."""

    id: str
    status: str
    amount_minor: int
    currency: str
    disputed_minor: int
    reason: str
    evidence_due_by: datetime | None
    gateway_object_id: str


class ToldEvent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an entry says, to be read without a program."""

    version: int
    kind: str
    at: datetime
    actor: str
    payload: dict[str, Any]


class Story(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that is told of one payment."""

    payment: str
    legal_entity: str
    version: int
    standing: Standing
    attempts: list[ToldAttempt]
    refunds: list[ToldRefund]
    disputes: list[ToldDispute]
    events: list[ToldEvent]
    next_look_at: datetime | None

    def digest(self) -> str:
        """SHA-256 over its JSON with sorted keys and without spaces, in hexadecimal digits."""
        return sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


def story_of(history: "History", disputes: "Sequence[Dispute]") -> Story:
    """What there is to tell of a payment."""
    payment = history.payment
    planned = [] if history.job is None else [history.job["run_at"]]
    planned += [one["run_at"] for one in history.refunds if one["run_at"] is not None]
    return Story(
        payment=to_text("pay", payment.payment_id),
        legal_entity=to_text("ent", payment.legal_entity_id),
        version=payment.version,
        standing=_taken(Standing, _fields(payment)),
        attempts=[
            _taken(ToldAttempt, {**one, "no": one["attempt_no"]}) for one in history.attempts
        ],
        refunds=[
            _taken(ToldRefund, {**one, "id": to_text("ref", one["refund_id"])})
            for one in history.refunds
        ],
        disputes=[
            _taken(ToldDispute, {**_fields(one), "id": to_text("dsp", one.dispute_id)})
            for one in sorted(disputes, key=lambda one: one.dispute_id)
        ],
        events=[_taken(ToldEvent, event) for event in history.events],
        next_look_at=min(planned, default=None),
    )


def check_story(story: Story, entries: Sequence[Entry]) -> None:
    """Raises LogRefused where these entries, all of the payment, say something else."""
    if not story.version == len(story.events) == len(entries):
        raise LogRefused(
            f"The story goes to version {story.version} with {len(story.events)} events, and "
            f"{len(entries)} entries are there."
        )
    for told, entry in zip(story.events, entries, strict=True):
        head = (told.version, told.kind, told.at, told.actor)
        if head != (entry.version, entry.kind, entry.at, entry.actor) or not _says(entry, told):
            raise LogRefused(f"Event {entry.version} of the story is not what the log says.")
    _check_standing(story)
    _check_parts("refund", "ref", {one.id: one for one in story.refunds}, story.events)
    _check_parts("dispute", "dsp", {one.id: one for one in story.disputes}, story.events)
    _check_objects(story)


def _says(entry: Entry, told: ToldEvent) -> bool:
    """Whether the payload of an entry is the one that is told."""
    if entry.is_digested:
        content = msgspec.json.encode(told.payload, order="deterministic")
        return entry.payload == f"sha256 {sha256(content).hexdigest()}".encode()
    try:
        return bool(msgspec.json.decode(entry.payload) == told.payload)
    except (msgspec.MsgspecError, RecursionError):
        return False


def _check_standing(story: Story) -> None:
    folded: dict[str, Any] = {}
    for told in story.events:
        folded.update(told.payload)
    try:
        after = _taken(Standing, folded)
    except msgspec.MsgspecError:
        raise LogRefused("The events of the story are not those of a payment.") from None
    for name in Standing.__struct_fields__:
        if getattr(after, name) != getattr(story.standing, name):
            raise LogRefused(f"What the story says of `{name}` is not what the log says.")


def _check_objects(story: Story) -> None:
    """Whether each attempt is the gateway's object that the events say."""
    objects = {one.no: one.gateway_object_id for one in story.attempts}
    for event in story.events:
        attempt = event.payload.get("attempt")
        if isinstance(attempt, dict) and attempt.get("gateway_object_id") is not None:
            number = attempt.get("no")
            if not isinstance(number, int) or objects.get(number) != attempt["gateway_object_id"]:
                raise LogRefused("An attempt of the story is not what the log says.")


def _check_parts(
    name: str,
    prefix: Any,
    told: Mapping[str, ToldRefund | ToldDispute],
    events: Sequence[ToldEvent],
) -> None:
    """Whether refunds or disputes stand as the last event says that speaks of each."""
    said: dict[str, dict[str, Any]] = {}
    for event in events:
        part = event.payload.get(name)
        if isinstance(part, dict) and isinstance(part.get("id"), str):
            said.setdefault(part["id"], {}).update(part)
    try:
        by_id = {to_text(prefix, UUID(one)): part for one, part in said.items()}
    except ValueError:
        raise LogRefused(f"The events of the story name no {name}.") from None
    if by_id.keys() != told.keys():
        raise LogRefused(f"The story has other {name}s than the log.")
    for identifier, part in by_id.items():
        shown = msgspec.to_builtins(told[identifier])
        if any(shown[key] != value for key, value in part.items() if key != "id" and key in shown):
            raise LogRefused(f"The {name} {identifier} of the story is not what the log says.")


def _fields(row: "Payment | Dispute") -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__struct_fields__}


def _taken(told: type[Told], found: Mapping[str, Any]) -> Told:
    """What of these values is told."""
    names = told.__struct_fields__
    return msgspec.convert({name: found[name] for name in names if name in found}, told)
