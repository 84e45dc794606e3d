"""Payouts: what the balance holds goes to the merchant's bank, which may return it later.

A knob makes one; then time alone moves it: pending, in transit, paid on its arrival date, and
failed after that where the knob said so (docs.stripe.com/payouts).
"""

from dataclasses import dataclass
from itertools import islice

from msgspec.structs import replace

from strongroom_sandbox.stripe.books import Books, Change
from strongroom_sandbox.stripe.errors import invalid, missing_resource
from strongroom_sandbox.stripe.form import Tree
from strongroom_sandbox.stripe.outcome import Outcome, Scene, new_id
from strongroom_sandbox.stripe.params import Params
from strongroom_sandbox.stripe.reading import CURSORS, LIST_PREFIX
from strongroom_sandbox.stripe.records import DAY_SECONDS, Payout
from strongroom_sandbox.stripe.settlement_shapes import (
    payout_shape,
    source_shape,
    transaction_shape,
)
from strongroom_sandbox.stripe.shapes import Shapes
from strongroom_sandbox.stripe.transactions import Transaction, all_of

STATUSES = ("pending", "in_transit", "paid", "failed", "canceled")
NEXT = {"pending": "in_transit", "in_transit": "paid"}
FAILURE_CODE = "account_closed"
NOT_PAID_OUT = ("payout", "payout_failure")


@dataclass(slots=True)
class Transactions:
    """Parameters of the list of balance transactions."""

    limit: int
    after: str | None
    payout: str | None
    type: str | None
    source: str | None
    created: tuple[int | None, int | None]
    expand: tuple[str, ...]


def made(scene: Scene, currency: str, arrives_days: int, fails_days: int | None) -> Payout:
    """A payout of all that the balance holds. Raises ValueError when that is nothing."""
    items = waiting(scene.books, currency)
    amount = sum(one.net for one in items)
    if amount <= 0:
        raise ValueError(f"the balance in {currency} holds {amount}: nothing to pay out")
    arrival = scene.now + arrives_days * DAY_SECONDS
    return Payout(
        id=new_id("po"),
        amount=amount,
        currency=currency,
        created=scene.now,
        arrival_date=arrival,
        items=tuple(one.id for one in items),
        fails_at=None if fails_days is None else arrival + fails_days * DAY_SECONDS,
    )


def waiting(books: Books, currency: str) -> list[Transaction]:
    """What no payout has taken yet."""
    taken = {item for payout in books.payouts.values() for item in payout.items}
    return [
        one
        for one in all_of(books)
        if one.currency == currency and one.id not in taken and one.type not in NOT_PAID_OUT
    ]


def moved(scene: Scene, payout: Payout) -> Change:
    """The payout one step on."""
    if payout.status == "paid":
        after = replace(
            payout, status="failed", failed_at=scene.now, failure_code=FAILURE_CODE, fails_at=None
        )
    else:
        after = replace(payout, status=NEXT[payout.status])
    return Change(time=scene.now, payouts=[after])


def retrieve(scene: Scene, payout_id: str, _: tuple[str, ...], __: Shapes) -> Outcome:
    """Show a payout."""
    payout = scene.books.payouts.get(payout_id)
    if payout is None:
        raise missing_resource("payout", payout_id[:100], "payout")
    return Outcome(Change(time=scene.now), body=payout_shape(payout))


def read_transactions(tree: Tree) -> Transactions:
    """Read the parameters of the list. Raises Refusal (400)."""
    known = (*CURSORS, "payout", "type", "source", "created")
    params = Params(tree, known, ("currency", "ending_before"))
    return Transactions(
        limit=params.limit(),
        after=params.text("starting_after"),
        payout=params.text("payout"),
        type=params.text("type"),
        source=params.text("source"),
        created=params.created(),
        expand=params.expand(frozenset(("source",)), LIST_PREFIX),
    )


def list_transactions(scene: Scene, _: str, command: Transactions, shapes: Shapes) -> Outcome:
    """Show balance transactions, newest first; of a payout, with the payout's own."""
    found, payout = all_of(scene.books)[::-1], None
    if command.payout is not None:
        payout = scene.books.payouts.get(command.payout)
        if payout is None:
            raise missing_resource("payout", command.payout[:100], "payout", status=400)
        items = {*payout.items, f"txn{payout.id[2:]}"}
        found = [one for one in found if one.id in items]
    low, high = command.created
    found = [
        one
        for one in found
        if command.type in (None, one.type)
        and command.source in (None, one.source)
        and (low is None or one.created >= low)
        and (high is None or one.created <= high)
    ]
    if command.after is not None:
        places = [place for place, one in enumerate(found) if one.id == command.after]
        if not places:
            raise invalid("No such balance transaction.", param="starting_after")
        found = found[places[0] + 1 :]
    shown = list(islice(found, command.limit))
    body = {
        "object": "list",
        "url": "/v1/balance_transactions",
        "has_more": len(found) > len(shown),
        "data": [
            transaction_shape(one, payout)
            | ({"source": source_shape(one, shapes, scene.books)} if command.expand else {})
            for one in shown
        ],
    }
    return Outcome(Change(time=scene.now), body=body)
