"""Disputes at Braintree: what one shows, and how it is answered.

Braintree has no inquiries: what asks for information alone is a dispute of the kind `retrieval`,
for which no money moves. Its texts of evidence have no names and no keys: each is one of ours with
its name in front, and what is there already is not added again.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple

from braintree import BraintreeGateway
from braintree.exceptions import NotFoundError

from strongroom.gateways.braintree.connections import Heard
from strongroom.gateways.braintree.declines import CODE_CHARACTERS_MAX
from strongroom.gateways.braintree.marks import attempt_of
from strongroom.gateways.braintree.money import from_braintree
from strongroom.payments.states import Unknown
from strongroom.settlement.disputes import DisputeStatus, Seen
from strongroom.settlement.port import DisputeLook, NoSuchObject, NotTaken, Told

REASON_CHARACTERS_MAX: Final = 100
_STATUSES: Final[Mapping[str, tuple[DisputeStatus, DisputeStatus]]] = {
    "open": ("needs_response", "warning_needs_response"),
    "disputed": ("under_review", "warning_under_review"),
    "under_review": ("under_review", "warning_under_review"),
    "won": ("won", "warning_closed"),
    "lost": ("lost", "warning_closed"),
    "accepted": ("lost", "warning_closed"),
    "auto_accepted": ("lost", "warning_closed"),
    "expired": ("lost", "warning_closed"),
}
"""By status (`braintree.Dispute.Status`), what it is of one that takes money and of a retrieval."""
_RETRIEVAL: Final = "retrieval"
_SUBMITTED: Final = "disputed"
_NAMELESS: Final = "uncategorized_text"


class Standing(NamedTuple):
    """Where a dispute stands, and how much money that is about.

    `kept_minor`: of one that is won, what the bank keeps all the same.
    """

    status: DisputeStatus
    amount_minor: int | None
    kept_minor: int
    currency: str


def standing_of(fields: Mapping[str, Any]) -> Standing | None:
    """None for a status that we have no word for."""
    words = _STATUSES.get(str(fields.get("status")))
    if words is None:
        return None
    status = words[fields.get("kind") == _RETRIEVAL]
    currency = str(fields.get("currency_iso_code")).upper()
    asked = from_braintree(fields.get("amount_disputed"), currency)
    won = from_braintree(fields.get("amount_won"), currency)
    kept = 0
    if status == "won" and asked is not None and won is not None and 0 < won < asked:
        kept = asked - won
    return Standing(status, asked, kept, currency)


def look_at(gateway: BraintreeGateway, object_id: str) -> Heard[DisputeLook]:
    """The dispute as it now stands. Raises what the SDK raises."""
    try:
        return _read(gateway.dispute.find(object_id), object_id)
    except NotFoundError:
        return Heard(NoSuchObject())


def give(
    gateway: BraintreeGateway,
    object_id: str,
    texts: Mapping[str, str],
    done: list[str],
    *,
    submit: bool,
) -> Heard[Told]:
    """Adds what is not there yet, and sends all of it to the bank where that is wanted.

    When Braintree refuses one of the texts, those that were added before it are taken back. `done`
    grows by what was done, whatever is raised afterwards.
    """
    held = _evidence_of(gateway.dispute.find(object_id))
    for name, text in texts.items():
        worded = _worded(name, text)
        if not any(_same(one.comments, worded) for one in held):
            result = gateway.dispute.add_text_evidence(object_id, {"content": worded})
            refusal = _refusal(result)
            if refusal is not None:
                for evidence_id in done:
                    gateway.dispute.remove_evidence(object_id, evidence_id)
                return refusal
            done.append(result.evidence.id)
        for older in held:
            if _is_named(older.comments, name) and not _same(older.comments, worded):
                gateway.dispute.remove_evidence(object_id, older.id)
    if submit:
        refusal = _refusal(gateway.dispute.finalize(object_id))
        if refusal is not None:
            return refusal
        done.append(object_id)
    return _told(gateway, object_id)


def accept(gateway: BraintreeGateway, object_id: str, done: list[str]) -> Heard[Told]:
    """Gives it up; `done` as for `give`."""
    refusal = _refusal(gateway.dispute.accept(object_id))
    if refusal is not None:
        return refusal
    done.append(object_id)
    return _told(gateway, object_id)


def _told(gateway: BraintreeGateway, object_id: str) -> Heard[Told]:
    """As it stands after it was answered."""
    heard = look_at(gateway, object_id)
    if isinstance(heard.said, NoSuchObject):
        return Heard(Unknown("another_object"))
    return Heard(heard.said, heard.object_id, heard.status)


def _read(found: Any, object_id: str) -> Heard[DisputeLook]:
    fields = vars(found)
    if found.id != object_id:
        return Heard(Unknown("another_object"))
    stands = standing_of(fields)
    if stands is None:
        return Heard(Unknown("unexpected_status"))
    sold, due_by = found.transaction, fields.get("reply_by_date")
    mark = attempt_of(getattr(sold, "order_id", None))
    seen = Seen(
        object_id=found.id,
        intent_id=getattr(sold, "id", None),
        payment_id=mark[0] if mark else None,
        attempt_no=mark[1] if mark else None,
        status=stands.status,
        amount_minor=stands.amount_minor,
        kept_minor=stands.kept_minor,
        currency=stands.currency,
        reason=str(fields.get("reason"))[:REASON_CHARACTERS_MAX],
        evidence_due_by=_begins(due_by) if isinstance(due_by, date) else None,
        has_evidence=bool(_evidence_of(found)),
        submissions=_submissions(fields),
        opened_at=_in_utc(found.created_at),
    )
    return Heard(seen, found.id, str(found.status))


def _evidence_of(found: Any) -> list[Any]:
    return list(getattr(found, "evidence", None) or ())


def _submissions(fields: Mapping[str, Any]) -> int:
    """How often it was sent to the bank, by what it has been through."""
    past = [str(one.status) for one in fields.get("status_history") or ()]
    return max(past.count(_SUBMITTED), int(fields.get("status") == _SUBMITTED))


def _refusal(result: Any) -> Heard[Told] | None:
    """What an answer says that is no success."""
    if result is None:
        return Heard(Unknown("gateway_error"))
    if result.is_success:
        return None
    codes = [str(error.code) for error in result.errors.deep_errors]
    return Heard(NotTaken(codes[0][:CODE_CHARACTERS_MAX] if codes else "refused"))


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize() + ": "


def _worded(name: str, text: str) -> str:
    return text if name == _NAMELESS else _title(name) + text


def _is_named(comments: Any, name: str) -> bool:
    return name != _NAMELESS and isinstance(comments, str) and comments.startswith(_title(name))


def _same(comments: Any, worded: str) -> bool:
    """White space may come back otherwise than it was sent, in XML."""
    return isinstance(comments, str) and comments.split() == worded.split()


def _begins(day: date) -> datetime:
    """The last day is not said to the hour, so it ends with its beginning."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
