"""What is done with a transaction that exists: submit, void, refund, and the tests' short cuts."""

from msgspec.structs import replace

from strongroom_sandbox.braintree.books import Change, Moment, Transaction
from strongroom_sandbox.braintree.errors import Refused, flaw
from strongroom_sandbox.braintree.sale import (
    ORDER_CHARACTERS_MAX,
    ended,
    read_amount,
    submitted,
)
from strongroom_sandbox.braintree.scene import Outcome, Scene, moved, new_id
from strongroom_sandbox.braintree.wire import Tree

REFUNDABLE = ("settling", "settled")
VOIDABLE = ("authorized", "submitted_for_settlement", "settlement_pending")
GIVEN_BACK = ("submitted_for_settlement", "settlement_pending", *REFUNDABLE, "settlement_confirmed")
DISBURSED = "disbursed"
"""Not a status of a transaction: what is to happen to it next."""
SHORT_CUTS = {
    "settle": "settled",
    "settlement_confirm": "settlement_confirmed",
    "settlement_decline": "settlement_declined",
    "settlement_pending": "settlement_pending",
}
"""Operations of the SDK's ``testing`` gateway, and the status each brings about."""


def found(scene: Scene, transaction_id: str) -> Transaction:
    """Raises Refused (404)."""
    one = scene.books.transactions.get(transaction_id)
    if one is None:
        raise Refused(404)
    return one


def submit(scene: Scene, transaction_id: str, params: Tree) -> Outcome:
    """Take what is held, or a part of it; the rest is released. Raises Invalid."""
    held = found(scene, transaction_id)
    if held.status != "authorized" or held.kind != "sale":
        raise flaw("base", "91507", "Cannot submit for settlement unless status is authorized.")
    amount = held.amount
    if params.get("amount") is not None:
        amount = read_amount(params["amount"], held.currency)
    if amount > held.authorized:
        raise flaw("amount", "91522", "Settlement amount is too large.")
    _check_order(params)
    order = params.get("order_id") or held.order_id
    return _changed(scene, replace(submitted(scene, held, amount), order_id=order))


def submit_part(scene: Scene, transaction_id: str, _: Tree) -> Outcome:
    """Several captures of one hold: this account's processor has none. Raises Invalid."""
    found(scene, transaction_id)
    raise flaw("base", "915102", "Processor does not support partial settlement.")


def void(scene: Scene, transaction_id: str, _: Tree) -> Outcome:
    """Give a hold free, or call back what is not settling yet. Raises Invalid."""
    held = found(scene, transaction_id)
    if held.status not in VOIDABLE:
        raise flaw(
            "base", "91504",
            "Transaction can only be voided if status is authorized, submitted_for_settlement, "
            "or settlement_pending.",
        )  # fmt: skip
    return _changed(scene, ended(held, "voided", scene.now))


def refund(scene: Scene, transaction_id: str, params: Tree) -> Outcome:
    """Give back a settled sale, whole or in part. Raises Invalid."""
    sold = found(scene, transaction_id)
    if sold.kind != "sale":
        raise flaw("base", "91505", "Cannot refund a credit.")
    if sold.status not in REFUNDABLE:
        raise flaw("base", "91506", "Cannot refund a transaction unless it is settled.")
    _check_order(params)
    left = sold.amount - given_back(scene, sold)
    if left == 0:
        raise flaw("base", "91512", "Transaction has already been fully refunded.")
    amount = left
    if params.get("amount") is not None:
        amount = read_amount(params["amount"], sold.currency)
    if amount > left:
        raise flaw("amount", "91521", "Refund amount is too large.")
    if params.get("merchant_account_id") not in (None, sold.merchant_account):
        raise flaw("merchant_account_id", "91513", "Merchant account ID is invalid.")
    now = scene.now
    made = Transaction(
        id=new_id(),
        kind="credit",
        status="submitted_for_settlement",
        amount=amount,
        currency=sold.currency,
        merchant_account=sold.merchant_account,
        created=now,
        updated=now,
        card=sold.card,
        order_id=params.get("order_id") or sold.order_id,
        token=sold.token,
        customer=sold.customer,
        response="1002",
        next_at=now + scene.knobs.settling_seconds,
        next_status="settling",
        history=(Moment(status="submitted_for_settlement", at=now, amount=amount),),
        refunded_transaction=sold.id,
        api_request_key=scene.key,
    )
    sold = replace(sold, refunds=(*sold.refunds, made.id), updated=now)
    return Outcome(Change(time=now, transactions=[sold, made]), transaction=made.id)


def reverse(scene: Scene, transaction_id: str, params: Tree) -> Outcome:
    """Void while that is possible, else give all of it back. Raises Invalid."""
    held = found(scene, transaction_id)
    act = void if held.status in VOIDABLE else refund
    return act(scene, transaction_id, params)


def short_cut(scene: Scene, transaction_id: str, name: str) -> Outcome:
    """What settlement came to, at once. Raises Invalid."""
    one = found(scene, transaction_id)
    if one.status not in ("submitted_for_settlement", "settling", "settlement_pending"):
        raise flaw("base", "91575", "Cannot simulate settlement of this transaction.")
    return _changed(scene, settled_as(scene, one, SHORT_CUTS[name], scene.now))


def settled_as(scene: Scene, one: Transaction, status: str, now: int) -> Transaction:
    """The transaction at a status of settlement that lasts; what is settled is paid out later."""
    pays = status == "settled"
    declined = {"settlement_declined": "4001", "settlement_pending": "4002"}.get(status)
    return replace(
        one,
        status=status,
        updated=now,
        next_at=now + scene.knobs.disbursement_seconds if pays else None,
        next_status=DISBURSED if pays else None,
        settlement_response=declined,
        disbursement=one.disbursement if pays else None,
        history=moved(one, status, now),
    )


def given_back(scene: Scene, sold: Transaction) -> int:
    """What refunds of a sale gave back, or are about to, in the minor unit."""
    refunds = (scene.books.transactions[each] for each in sold.refunds)
    return sum(each.amount for each in refunds if each.status in GIVEN_BACK)


def _check_order(params: Tree) -> None:
    if len(params.get("order_id") or "") > ORDER_CHARACTERS_MAX:
        raise flaw("order_id", "91501", "Order ID is too long.")


def _changed(scene: Scene, one: Transaction) -> Outcome:
    return Outcome(Change(time=scene.now, transactions=[one]), transaction=one.id)
