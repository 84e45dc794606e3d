"""Disputes: opened by a knob, answered with evidence, accepted or finalized, decided by time.

As in the sandbox, text evidence that says ``compelling_evidence`` wins and ``losing_evidence``
loses; any other is decided by a knob. Who lets the deadline pass has lost the right to answer.
"""

import re
from collections.abc import Callable

from msgspec.structs import replace

from strongroom_sandbox.braintree.books import Change, Dispute, Evidence, Moment, Transaction
from strongroom_sandbox.braintree.errors import Invalid, Refused, flaw
from strongroom_sandbox.braintree.scene import Outcome, Scene, new_id
from strongroom_sandbox.braintree.search import day_range, within
from strongroom_sandbox.braintree.settlement_shapes import dispute_shape, evidence_shape
from strongroom_sandbox.braintree.wire import Group, Tree, page

REPLY_SECONDS = 7 * 24 * 3600
COMMENTS_CHARACTERS_MAX = 8_000
EVIDENCE_MAX = 100
PAGE_SIZE = 50
CATEGORY = re.compile(r"[A-Z0-9_]{1,60}")
KINDS = ("chargeback", "retrieval", "pre_arbitration")
REASONS = (
    "cancelled_recurring_transaction", "credit_not_processed", "duplicate", "fraud", "general",
    "invalid_account", "not_recognized", "product_not_received", "product_unsatisfactory",
    "retrieval", "transaction_amount_differs",
)  # fmt: skip
STATUSES = (
    "open", "accepted", "auto_accepted", "disputed", "expired", "lost", "under_review", "won",
)  # fmt: skip
DECISIONS = {"compelling_evidence": "won", "losing_evidence": "lost"}
CRITERIA = ("id", "transaction_id", "status", "kind", "reason", "merchant_account_id")


DAYS: dict[str, Callable[[Dispute], list[int]]] = {
    "received_date": lambda one: [one.opened],
    "effective_date": lambda one: [each.at for each in one.history],
    "reply_by_date": lambda one: [one.reply_by],
}
"""Criteria that are ranges of days, and the moments of which one has to be in it."""


def found(scene: Scene, dispute_id: str) -> Dispute:
    """Raises Refused (404)."""
    one = scene.books.disputes.get(dispute_id)
    if one is None:
        raise Refused(404)
    return one


def opened(scene: Scene, of: Transaction, amount: int, kind: str, reason: str) -> Change:
    """A dispute of a sale, and the sale that names it."""
    now = scene.now
    dispute = Dispute(
        id=new_id(),
        transaction=of.id,
        amount=amount,
        currency=of.currency,
        merchant_account=of.merchant_account,
        kind=kind,
        reason=reason,
        status="open",
        opened=now,
        reply_by=now + REPLY_SECONDS,
        updated=now,
        history=(Moment(status="open", at=now),),
        next_at=now + REPLY_SECONDS,
        next_status="expired",
    )
    named = replace(of, disputes=(*of.disputes, dispute.id))
    return Change(time=now, disputes=[dispute], transactions=[named])


def turned(dispute: Dispute, status: str, now: int) -> Dispute:
    """The dispute in another status, which stays until something happens."""
    return replace(
        dispute,
        status=status,
        updated=now,
        won=dispute.amount if status == "won" else 0,
        history=(*dispute.history, Moment(status=status, at=now)),
        next_at=None,
        next_status=None,
    )


def accept(scene: Scene, dispute_id: str, _: Tree) -> Outcome:
    """Give it up. Raises Invalid."""
    dispute = _open(scene, dispute_id, "95704", "accept")
    return _changed(scene, turned(dispute, "accepted", scene.now))


def finalize(scene: Scene, dispute_id: str, _: Tree) -> Outcome:
    """Send the evidence; nothing can be added after that. Raises Invalid."""
    dispute = _open(scene, dispute_id, "95705", "finalize")
    if not dispute.evidence:
        raise _flaw("95726", "Valid evidence is required to finalize a dispute.")
    told = [DECISIONS.get(each.comments or "") for each in dispute.evidence]
    decided = next((each for each in told if each is not None), None)
    dispute = turned(dispute, "disputed", scene.now)
    if decided is not None:
        at = scene.now + scene.knobs.dispute_decision_seconds
        dispute = replace(dispute, next_at=at, next_status=decided)
    return _changed(scene, dispute)


def add_evidence(scene: Scene, dispute_id: str, params: Tree) -> Outcome:
    """Add a text. Raises Invalid."""
    dispute = _open(scene, dispute_id, "95701", "add evidence to")
    if params.get("document_upload_id") is not None:
        raise _flaw("95703", "There is no such document.")
    comments, category = params.get("comments"), params.get("category")
    if category is not None and CATEGORY.fullmatch(category) is None:
        raise _flaw("95706", "The category is not valid.")
    if comments is None or len(comments) > COMMENTS_CHARACTERS_MAX:
        raise _flaw("95708", "The text is missing or too long.")
    if len(dispute.evidence) >= EVIDENCE_MAX:
        raise _flaw("95714", "There is too much evidence.")
    made = Evidence(
        id=new_id(),
        created=scene.now,
        comments=comments,
        category=category,
        sequence_number=params.get("sequence_number"),
    )
    dispute = replace(dispute, evidence=(*dispute.evidence, made), updated=scene.now)
    change = Change(time=scene.now, disputes=[dispute])
    return Outcome(change, root="evidence", show=lambda _: evidence_shape(made))


def remove_evidence(scene: Scene, dispute_id: str, evidence_id: str) -> Outcome:
    """Take a text back. Raises Invalid, Refused (404)."""
    dispute = _open(scene, dispute_id, "95702", "remove evidence from")
    left = tuple(each for each in dispute.evidence if each.id != evidence_id)
    if len(left) == len(dispute.evidence):
        raise Refused(404)
    return _changed(scene, replace(dispute, evidence=left, updated=scene.now))


def search(scene: Scene, criteria: Tree, number: int) -> Group:
    """A page of disputes that meet the criteria, newest first. Raises Refused (400)."""
    ranges = {name: asked for name, asked in criteria.items() if name in DAYS}
    others = {name: asked for name, asked in criteria.items() if name not in DAYS}
    for name, asked in others.items():
        if name not in CRITERIA or not isinstance(asked, list | dict):
            raise Refused(400, f"cannot search by {name[:40]}")
    tests = [(DAYS[name], day_range(asked)) for name, asked in ranges.items()]
    held = [
        one for one in scene.books.disputes.values()
        if _meets(one, others)
        and all(any(within(day, *bounds) for day in days(one)) for days, bounds in tests)
    ][::-1]  # fmt: skip
    shown = held[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
    return page(
        "dispute", [dispute_shape(scene.books, one) for one in shown], PAGE_SIZE, len(held), number
    )


def _meets(dispute: Dispute, criteria: Tree) -> bool:
    for name, asked in criteria.items():
        value = dispute.transaction if name == "transaction_id" else getattr(dispute, NAMES[name])
        wanted = asked if isinstance(asked, list) else [asked.get("is")]
        if value not in wanted:
            return False
    return True


NAMES = {name: name.removesuffix("_id") for name in CRITERIA} | {"id": "id"}


def _open(scene: Scene, dispute_id: str, code: str, what: str) -> Dispute:
    dispute = found(scene, dispute_id)
    if dispute.status != "open":
        raise _flaw(code, f"Disputes can only {what} while they are open.")
    return dispute


def _flaw(code: str, message: str) -> Invalid:
    return flaw("status" if code < "95706" else "base", code, message, "dispute")


def _changed(scene: Scene, dispute: Dispute) -> Outcome:
    return Outcome(Change(time=scene.now, disputes=[dispute]))
