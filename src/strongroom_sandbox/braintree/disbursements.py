"""Disbursements: what a merchant account had settled goes to the merchant's bank, which may refuse.

One holds all sales less all refunds that were settled and not paid out yet; while that is nothing
or less, it waits. Disputes are not in it: the bank of the merchant is debited for them apart.
"""

from msgspec.structs import replace

from strongroom_sandbox.braintree.books import Change, Disbursement, Transaction
from strongroom_sandbox.braintree.scene import Scene, new_id

DAY_SECONDS = 24 * 3600


def waiting(scene: Scene, account: str) -> list[Transaction]:
    """What is settled and not paid out, oldest first."""
    return [
        one for one in scene.books.transactions.values()
        if one.merchant_account == account and one.status == "settled"
        and not is_paid(scene, one)
    ]  # fmt: skip


def is_paid(scene: Scene, one: Transaction) -> bool:
    """Whether it was paid out, and did not come back."""
    made = scene.books.disbursements.get(one.disbursement or "")
    return made is not None and made.success


def paid(scene: Scene, account: str) -> Change | None:
    """A disbursement of all that waits, or None where that comes to nothing."""
    parts = waiting(scene, account)
    amount = sum(one.amount if one.kind == "sale" else -one.amount for one in parts)
    if amount <= 0:
        return None
    made = Disbursement(
        id=new_id(),
        merchant_account=account,
        currency=parts[0].currency,
        amount=amount,
        day=scene.now,
        transactions=tuple(one.id for one in parts),
    )
    changed = [
        replace(one, disbursement=made.id, disbursed_on=scene.now // DAY_SECONDS * DAY_SECONDS)
        for one in parts
    ]
    return Change(time=scene.now, disbursements=[made], transactions=changed)


def returned(scene: Scene, made: Disbursement, exception: str, follow_up: str) -> Change:
    """The bank sent it back: its parts wait again, and name it until they are paid out anew."""
    failed = replace(made, success=False, exception=exception, follow_up=follow_up)
    parts = [scene.books.transactions[each] for each in made.transactions]
    again = scene.now + scene.knobs.disbursement_seconds
    changed = [replace(one, next_at=again) for one in parts if one.disbursement == made.id]
    return Change(time=scene.now, disbursements=[failed], transactions=changed)
