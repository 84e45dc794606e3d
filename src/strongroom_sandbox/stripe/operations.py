"""Which method and path is which operation.

Webhook endpoints join here: one reading and one deciding
function each, and a line in ``route``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from strongroom_sandbox.stripe import (
    disputes,
    event_list,
    intent_params,
    intents,
    payouts,
    people,
    reading,
    refunds,
    setups,
    tax,
    tax_transactions,
)
from strongroom_sandbox.stripe.form import Tree
from strongroom_sandbox.stripe.outcome import Outcome, Scene
from strongroom_sandbox.stripe.shapes import Shapes

ID_CHARACTERS_MAX = 255

Read = Callable[[Tree], Any]
Act = Callable[[Scene, str, Any, Shapes], Outcome]


@dataclass(frozen=True, slots=True)
class Operation:
    """``read`` turns parameters into a command; ``act`` decides on (scene, id, command)."""

    name: str
    read: Read
    act: Act


def _create(scene: Scene, _: str, command: intent_params.Create, __: Shapes) -> Outcome:
    return _expanded(intents.create(scene, command), command.expand)


def _update(scene: Scene, intent_id: str, command: intent_params.Update, _: Shapes) -> Outcome:
    return _expanded(intents.update(scene, intent_id, command), command.expand)


def _confirm(scene: Scene, intent_id: str, command: intent_params.Confirm, _: Shapes) -> Outcome:
    return _expanded(intents.confirm(scene, intent_id, command), command.expand)


def _cancel(
    scene: Scene, intent_id: str, command: tuple[str | None, tuple[str, ...]], _: Shapes
) -> Outcome:
    return _expanded(intents.cancel(scene, intent_id, command[0]), command[1])


def _capture(
    scene: Scene, intent_id: str, command: tuple[dict[str, Any], tuple[str, ...]], _: Shapes
) -> Outcome:
    return _expanded(intents.capture(scene, intent_id, command[0]), command[1])


def _refund(scene: Scene, _: str, command: refunds.Create, __: Shapes) -> Outcome:
    return _expanded(refunds.create(scene, command), command.expand)


def _update_refund(
    scene: Scene,
    refund_id: str,
    command: tuple[dict[str, str] | None, tuple[str, ...]],
    _: Shapes,
) -> Outcome:
    return _expanded(refunds.update(scene, refund_id, command[0]), command[1])


def _expanded(outcome: Outcome, expand: tuple[str, ...]) -> Outcome:
    outcome.expand = expand
    return outcome


COLLECTIONS: dict[tuple[str, str], Operation] = {
    ("POST", "payment_intents"): Operation(
        "payment_intents.create", intent_params.read_create, _create
    ),
    ("GET", "payment_intents"): Operation(
        "payment_intents.list",
        reading.read_page(intent_params.EXPAND, "created", "customer"),
        lambda scene, _, page, shapes: reading.list_intents(scene, page, shapes),
    ),
    ("GET", "charges"): Operation(
        "charges.list",
        reading.read_page(reading.CHARGE_EXPAND, "created", "customer", "payment_intent"),
        lambda scene, _, page, shapes: reading.list_charges(scene, page, shapes),
    ),
    ("POST", "refunds"): Operation("refunds.create", refunds.read_create, _refund),
    ("GET", "refunds"): Operation(
        "refunds.list",
        reading.read_page(refunds.EXPAND, "created", "charge", "payment_intent"),
        lambda scene, _, page, shapes: reading.list_refunds(scene, page, shapes),
    ),
    ("GET", "disputes"): Operation(
        "disputes.list",
        reading.read_page(disputes.EXPAND, "created", "charge", "payment_intent"),
        lambda scene, _, page, shapes: reading.list_disputes(scene, page, shapes),
    ),
    ("GET", "payouts"): Operation(
        "payouts.list",
        reading.read_page(frozenset(), "created"),
        lambda scene, _, page, shapes: reading.list_payouts(scene, page, shapes),
    ),
    ("GET", "balance_transactions"): Operation(
        "balance_transactions.list", payouts.read_transactions, payouts.list_transactions
    ),
    ("POST", "customers"): Operation(
        "customers.create",
        people.read_person,
        lambda scene, _, fields, __: people.create(scene, fields),
    ),
    ("GET", "payment_methods"): Operation(
        "payment_methods.list",
        people.read_methods,
        lambda scene, _, command, shapes: people.list_methods(scene, command, shapes),
    ),
    ("POST", "setup_intents"): Operation(
        "setup_intents.create",
        setups.read_create,
        lambda scene, _, command, shapes: setups.create(scene, command, shapes),
    ),
}
COLLECTIONS["GET", "events"] = Operation(
    "events.list",
    event_list.read_events,
    lambda scene, _, page, __: event_list.list_events(scene, page),
)
SEARCH = Operation(
    "payment_intents.search",
    reading.read_search,
    lambda scene, _, command, shapes: reading.search_intents(scene, command, shapes),
)
ITEMS: dict[tuple[str, str], Operation] = {
    ("GET", "payment_intents"): Operation(
        "payment_intents.retrieve",
        reading.read_only_expand(intent_params.EXPAND, "client_secret"),
        lambda scene, intent_id, expand, _: reading.retrieve_intent(scene, intent_id, expand),
    ),
    ("POST", "payment_intents"): Operation(
        "payment_intents.update", intent_params.read_update, _update
    ),
    ("GET", "charges"): Operation(
        "charges.retrieve", reading.read_only_expand(reading.CHARGE_EXPAND), reading.retrieve_charge
    ),
    ("GET", "refunds"): Operation(
        "refunds.retrieve",
        reading.read_only_expand(refunds.EXPAND),
        lambda scene, refund_id, expand, _: reading.retrieve_refund(scene, refund_id, expand),
    ),
    ("POST", "refunds"): Operation("refunds.update", refunds.read_update, _update_refund),
    ("GET", "disputes"): Operation(
        "disputes.retrieve", reading.read_only_expand(disputes.EXPAND), disputes.retrieve
    ),
    ("POST", "disputes"): Operation("disputes.update", disputes.read_answer, disputes.update),
    ("GET", "payouts"): Operation(
        "payouts.retrieve", reading.read_only_expand(frozenset()), payouts.retrieve
    ),
    ("GET", "payment_methods"): Operation(
        "payment_methods.retrieve",
        reading.read_only_expand(frozenset()),
        lambda scene, method_id, _, shapes: reading.retrieve_method(scene, method_id, shapes),
    ),
    ("POST", "payment_methods"): Operation(
        "payment_methods.update", people.read_method_update, people.update_method
    ),
    ("GET", "customers"): Operation(
        "customers.retrieve",
        reading.read_only_expand(frozenset()),
        lambda scene, person_id, _, __: people.retrieve(scene, person_id),
    ),
    ("POST", "customers"): Operation(
        "customers.update",
        people.read_person,
        lambda scene, person_id, fields, _: people.update(scene, person_id, fields),
    ),
    ("GET", "setup_intents"): Operation(
        "setup_intents.retrieve",
        reading.read_only_expand(setups.EXPAND, "client_secret"),
        setups.retrieve,
    ),
}
ITEMS["GET", "events"] = Operation(
    "events.retrieve",
    reading.read_only_expand(frozenset()),
    lambda scene, event_id, _, __: event_list.retrieve_event(scene, event_id),
)
STEPS: dict[tuple[str, str], Operation] = {
    ("payment_intents", "confirm"): Operation(
        "payment_intents.confirm", intent_params.read_confirm, _confirm
    ),
    ("payment_intents", "cancel"): Operation(
        "payment_intents.cancel", intent_params.read_cancel, _cancel
    ),
    ("payment_intents", "capture"): Operation(
        "payment_intents.capture", intent_params.read_capture, _capture
    ),
    ("disputes", "close"): Operation(
        "disputes.close", reading.read_only_expand(disputes.EXPAND), disputes.close
    ),
    ("refunds", "cancel"): Operation(
        "refunds.cancel",
        reading.read_only_expand(refunds.EXPAND),
        lambda scene, refund_id, _, __: refunds.cancel(scene, refund_id),
    ),
    ("payment_methods", "attach"): Operation(
        "payment_methods.attach", people.read_attach, people.attach
    ),
    ("payment_methods", "detach"): Operation(
        "payment_methods.detach",
        reading.read_only_expand(frozenset()),
        lambda scene, method_id, _, shapes: people.detach(scene, method_id, shapes),
    ),
    ("setup_intents", "confirm"): Operation(
        "setup_intents.confirm", setups.read_confirm, setups.confirm
    ),
    ("setup_intents", "cancel"): Operation(
        "setup_intents.cancel", setups.read_cancel, setups.cancel
    ),
}
TAX: dict[tuple[str, str], Operation] = {
    ("POST", "calculations"): Operation("tax.calculations.create", tax.read_create, tax.create),
    ("GET", "calculations/{id}"): Operation(
        "tax.calculations.retrieve", reading.read_only_expand(tax.EXPAND), tax.retrieve
    ),
    ("GET", "calculations/{id}/line_items"): Operation(
        "tax.calculations.line_items.list", tax.read_lines, tax.list_lines
    ),
    ("POST", "transactions/create_from_calculation"): Operation(
        "tax.transactions.create_from_calculation",
        tax_transactions.read_create,
        tax_transactions.create_from_calculation,
    ),
    ("POST", "transactions/create_reversal"): Operation(
        "tax.transactions.create_reversal",
        tax_transactions.read_reversal,
        tax_transactions.create_reversal,
    ),
    ("GET", "transactions/{id}"): Operation(
        "tax.transactions.retrieve",
        reading.read_only_expand(tax_transactions.EXPAND),
        tax_transactions.retrieve,
    ),
    ("GET", "transactions/{id}/line_items"): Operation(
        "tax.transactions.line_items.list", tax.read_lines, tax_transactions.list_lines
    ),
}


def route(method: str, path: str) -> tuple[Operation, str] | None:
    """Return the operation and the id in the path (empty for a collection), or None."""
    match path.split("/"):
        case ["", "v1", "tax", noun, *rest]:
            return _tax_route(method, noun, rest)
        case ["", "v1", noun]:
            operation = COLLECTIONS.get((method, noun))
            return None if operation is None else (operation, "")
        case ["", "v1", "payment_intents", "search"] if method == "GET":
            return SEARCH, ""
        case ["", "v1", noun, object_id] if 0 < len(object_id) <= ID_CHARACTERS_MAX:
            operation = ITEMS.get((method, noun))
            return None if operation is None else (operation, object_id)
        case ["", "v1", noun, object_id, step] if 0 < len(object_id) <= ID_CHARACTERS_MAX:
            operation = STEPS.get((noun, step)) if method == "POST" else None
            return None if operation is None else (operation, object_id)
        case _:
            return None


def _tax_route(method: str, noun: str, rest: list[str]) -> tuple[Operation, str] | None:
    operation = TAX.get((method, "/".join((noun, *rest))))
    if operation is not None or not rest:
        return None if operation is None else (operation, "")
    operation = TAX.get((method, "/".join((noun, "{id}", *rest[1:]))))
    if operation is None or not 0 < len(rest[0]) <= ID_CHARACTERS_MAX:
        return None
    return operation, rest[0]
