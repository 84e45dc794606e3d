"""Operations that look things up: retrieve, list and search."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from strongroom_sandbox.stripe.attempt import resolve_method
from strongroom_sandbox.stripe.books import Change, Charge, Intent, Refund
from strongroom_sandbox.stripe.errors import Refusal, invalid, missing_resource
from strongroom_sandbox.stripe.form import Tree
from strongroom_sandbox.stripe.intent_params import EXPAND
from strongroom_sandbox.stripe.intents import find
from strongroom_sandbox.stripe.outcome import Outcome, Scene
from strongroom_sandbox.stripe.params import Params
from strongroom_sandbox.stripe.records import Dispute, Payout
from strongroom_sandbox.stripe.refunds import find as find_refund
from strongroom_sandbox.stripe.search import Query, read_query
from strongroom_sandbox.stripe.settlement_shapes import dispute_shape, payout_shape
from strongroom_sandbox.stripe.shapes import Shapes

CHARGE_EXPAND = frozenset(("payment_intent", "refunds"))
CURSORS = ("limit", "starting_after", "ending_before", "expand")
LIST_PREFIX = "data."

Item = TypeVar("Item", Charge, Refund, Dispute, Payout)


@dataclass(frozen=True, slots=True)
class Page:
    """What a list asks for. ``created`` is inclusive Unix seconds."""

    limit: int
    after: str | None
    before: str | None
    created: tuple[int | None, int | None]
    customer: str | None
    intent: str | None
    charge: str | None
    expand: tuple[str, ...]

    def takes(self, item: Intent | Charge | Refund | Dispute | Payout) -> bool:
        """Tell whether the filters let an item through."""
        low, high = self.created
        return (
            (low is None or item.created >= low)
            and (high is None or item.created <= high)
            and (self.customer is None or getattr(item, "customer", None) == self.customer)
        )


def read_only_expand(allowed: frozenset[str], *names: str) -> Callable[[Tree], tuple[str, ...]]:
    """Return a reader for operations that take nothing but ``expand`` and ignorable names."""

    def read(tree: Tree) -> tuple[str, ...]:
        return Params(tree, ("expand", *names)).expand(allowed)

    return read


def read_page(allowed: frozenset[str], *names: str) -> Callable[[Tree], Page]:
    """Return a reader for the parameters of a list."""

    def read(tree: Tree) -> Page:
        params = Params(tree, (*CURSORS, *names), ("customer_account", "transfer_group"))
        after, before = params.text("starting_after"), params.text("ending_before")
        if after is not None and before is not None:
            raise invalid(
                "Give only one of starting_after and ending_before.", param="ending_before"
            )
        return Page(
            limit=params.limit(),
            after=after,
            before=before,
            created=params.created(),
            customer=params.text("customer"),
            intent=params.text("payment_intent"),
            charge=params.text("charge"),
            expand=params.expand(allowed, LIST_PREFIX),
        )

    return read


def retrieve_intent(scene: Scene, intent_id: str, expand: tuple[str, ...]) -> Outcome:
    """Show an intent."""
    return Outcome(Change(time=scene.now), find(scene, intent_id), expand=expand)


def list_intents(scene: Scene, page: Page, shapes: Shapes) -> Outcome:
    """Show intents, newest first."""
    books = scene.books
    cursor = page.after or page.before
    if cursor is not None and cursor not in books.intents:
        name = "starting_after" if page.after else "ending_before"
        raise missing_resource("payment_intent", cursor[:100], name, status=400)
    if page.before is not None:
        # The items just above the cursor are wanted, still shown newest first.
        found = _take(books.created_after(page.before), page)
        shown, more = found[: page.limit][::-1], len(found) > page.limit
    else:
        found = _take(books.newest_intents(page.after), page)
        shown, more = found[: page.limit], len(found) > page.limit
    data = [shapes.intent(intent, page.expand) for intent in shown]
    return _list(scene, "/v1/payment_intents", data, more=more)


def _take(intents: Iterable[Intent], page: Page) -> list[Intent]:
    return list(islice((each for each in intents if page.takes(each)), page.limit + 1))


def read_search(tree: Tree) -> tuple[Query, int, str | None, tuple[str, ...]]:
    """Read the parameters of search: (query, limit, page, expand)."""
    params = Params(tree, ("query", "limit", "page", "expand"))
    query = read_query(params.required_text("query"))
    expand = params.expand(EXPAND, LIST_PREFIX)
    return query, params.limit(), params.text("page"), expand


def search_intents(
    scene: Scene, command: tuple[Query, int, str | None, tuple[str, ...]], shapes: Shapes
) -> Outcome:
    """Show intents as they stood ``search_lag_seconds`` ago (docs.stripe.com/search: it lags)."""
    query, limit, page, expand = command
    books, moment = scene.books, scene.now - scene.search_lag_seconds
    start = None if page is None else page.removeprefix("page_")
    if start is not None and start not in books.intents:
        raise invalid("Invalid page", param="page")
    found: list[Intent] = []
    for intent_id in _candidates(scene, query):
        if start is not None and books.position(intent_id) >= books.position(start):
            continue
        seen = books.as_of(intent_id, moment)
        if seen is not None and query.meets(seen):
            found.append(seen)
            if len(found) > limit:
                break
    more = len(found) > limit
    found = found[:limit]
    body = {
        "object": "search_result",
        "url": "/v1/payment_intents/search",
        "has_more": more,
        "data": [shapes.intent(intent, expand) for intent in found],
        "next_page": f"page_{found[-1].id}" if more else None,
    }
    return Outcome(Change(time=scene.now), body=body)


def _candidates(scene: Scene, query: Query) -> Iterable[str]:
    """Return ids that may fit, newest first: by an index when a metadata value is asked for."""
    for term in query.terms if query.every else ():
        exact = term.field == "metadata" and term.operator == ":" and not term.negated
        if exact and term.key is not None and term.value is not None:
            return scene.books.with_metadata(term.key, term.value)
    return (intent.id for intent in scene.books.newest_intents())


def retrieve_charge(
    scene: Scene, charge_id: str, expand: tuple[str, ...], shapes: Shapes
) -> Outcome:
    """Show a charge."""
    charge = scene.books.charges.get(charge_id)
    if charge is None:
        raise missing_resource("charge", charge_id[:100], "id")
    return Outcome(Change(time=scene.now), body=shapes.charge(charge, expand))


def list_charges(scene: Scene, page: Page, shapes: Shapes) -> Outcome:
    """Show charges, newest first, of one intent or of all."""
    books = scene.books
    if page.intent is not None:
        if page.intent not in books.intents:
            raise missing_resource("payment_intent", page.intent[:100], "payment_intent")
        charges = books.charges_of(page.intent)
    else:
        charges = list(books.charges.values())
    shown, more = _cut(charges, page, "charge")
    data = [shapes.charge(charge, page.expand) for charge in shown]
    return _list(scene, "/v1/charges", data, more=more)


def retrieve_refund(scene: Scene, refund_id: str, expand: tuple[str, ...]) -> Outcome:
    """Show a refund."""
    refund = find_refund(scene, refund_id)
    return Outcome(Change(time=scene.now), refund=refund, expand=expand)


def list_refunds(scene: Scene, page: Page, shapes: Shapes) -> Outcome:
    """Show refunds, newest first, of one charge or intent or of all."""
    books = scene.books
    if page.charge is not None:
        if page.charge not in books.charges:
            raise missing_resource("charge", page.charge[:100], "charge")
        refunds = books.refunds_of(page.charge)
    elif page.intent is not None:
        if page.intent not in books.intents:
            raise missing_resource("payment_intent", page.intent[:100], "payment_intent")
        charges = books.charges_of(page.intent)
        refunds = [refund for charge in charges for refund in books.refunds_of(charge.id)]
    else:
        refunds = list(books.refunds.values())
    shown, more = _cut(refunds, page, "refund")
    data = [shapes.refund(refund, page.expand) for refund in shown]
    return _list(scene, "/v1/refunds", data, more=more)


def list_disputes(scene: Scene, page: Page, shapes: Shapes) -> Outcome:
    """Show disputes, newest first, of one charge or intent or of all."""
    books = scene.books
    disputes = [
        dispute
        for dispute in books.disputes.values()
        if page.charge in (None, dispute.charge) and page.intent in (None, dispute.payment_intent)
    ]
    shown, more = _cut(disputes, page, "dispute")
    data = [dispute_shape(dispute, shapes, books, page.expand) for dispute in shown]
    return _list(scene, "/v1/disputes", data, more=more)


def list_payouts(scene: Scene, page: Page, _: Shapes) -> Outcome:
    """Show payouts, newest first."""
    shown, more = _cut(list(scene.books.payouts.values()), page, "payout")
    return _list(scene, "/v1/payouts", [payout_shape(one) for one in shown], more=more)


def _cut(items: list[Item], page: Page, noun: str) -> tuple[list[Item], bool]:
    """Take a page of items that are given oldest first; returns (newest first, more)."""
    newest = [item for item in reversed(items) if page.takes(item)]
    start, end = 0, len(newest)
    cursor = page.after or page.before
    if cursor is not None:
        places = [place for place, item in enumerate(newest) if item.id == cursor]
        if not places:
            name = "starting_after" if page.after else "ending_before"
            raise missing_resource(noun, cursor[:100], name, status=400)
        start, end = (places[0] + 1, end) if page.after else (0, places[0])
    wanted = newest[start:end]
    shown = wanted[-page.limit :] if page.before else wanted[: page.limit]
    return shown, len(wanted) > page.limit


def retrieve_method(scene: Scene, method_id: str, shapes: Shapes) -> Outcome:
    """Show a payment method; a documented test id makes a new one, as at Stripe."""
    try:
        method, is_new = resolve_method(scene, method_id[:200])
    except Refusal:
        raise missing_resource("PaymentMethod", method_id[:100], "payment_method") from None
    change = Change(time=scene.now, methods=[method] if is_new else [])
    return Outcome(change, body=shapes.method(method))


def _list(scene: Scene, url: str, data: list[dict[str, Any]], *, more: bool) -> Outcome:
    body = {"object": "list", "url": url, "has_more": more, "data": data}
    return Outcome(Change(time=scene.now), body=body)
