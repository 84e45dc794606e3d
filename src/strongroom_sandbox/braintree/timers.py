"""What time alone brings: holds that expire, settlement, payouts, decisions on disputes."""

from msgspec.structs import replace

from strongroom_sandbox.braintree import disbursements, disputes
from strongroom_sandbox.braintree.books import Change, Transaction
from strongroom_sandbox.braintree.cards import settlement_of_amount
from strongroom_sandbox.braintree.currencies import whole_units
from strongroom_sandbox.braintree.sale import ended
from strongroom_sandbox.braintree.scene import Scene, moved
from strongroom_sandbox.braintree.settling import DISBURSED, settled_as


def come_due(scene: Scene) -> Change | None:
    """Return the next change that has come due, or None. To be applied before asking again."""
    while (object_id := scene.books.due(scene.now)) is not None:
        dispute = scene.books.disputes.get(object_id)
        if dispute is not None and dispute.next_status and _is_due(scene, dispute.next_at):
            turned = disputes.turned(dispute, dispute.next_status, scene.now)
            return Change(time=scene.now, disputes=[turned])
        one = scene.books.transactions.get(object_id)
        if one is None or one.next_at is None or not _is_due(scene, one.next_at):
            continue
        if one.next_status != DISBURSED:
            return Change(time=scene.now, transactions=[_next(scene, one, one.next_at)])
        paid = None
        if not disbursements.is_paid(scene, one):
            paid = disbursements.paid(scene, one.merchant_account)
        if paid is not None:
            return paid
    return None


def _is_due(scene: Scene, at: int | None) -> bool:
    return at is not None and at <= scene.now


def _next(scene: Scene, one: Transaction, at: int) -> Transaction:
    if one.next_status == "authorization_expired":
        return ended(one, "authorization_expired", at)
    if one.next_status == "settling":
        knobs = scene.knobs
        longer = max(0, knobs.settled_seconds - knobs.settling_seconds)
        return replace(
            one,
            status="settling",
            updated=at,
            next_at=at + longer,
            next_status="settled",
            history=moved(one, "settling", at),
        )
    status = None
    if one.kind == "sale":
        status = settlement_of_amount(whole_units(one.amount, one.currency))
    return settled_as(scene, one, status or "settled", at)
