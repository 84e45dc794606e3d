"""Which method and path is which operation.

Webhook endpoints, SetupIntents and disputes join here: one reading and one deciding
function each, and a line in ``route``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from strongroom_sandbox.stripe import intent_params, intents, reading, refunds
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
}
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
    ("GET", "payment_methods"): Operation(
        "payment_methods.retrieve",
        reading.read_only_expand(frozenset()),
        lambda scene, method_id, _, shapes: reading.retrieve_method(scene, method_id, shapes),
    ),
}
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
    ("refunds", "cancel"): Operation(
        "refunds.cancel",
        reading.read_only_expand(refunds.EXPAND),
        lambda scene, refund_id, _, __: refunds.cancel(scene, refund_id),
    ),
}


def route(method: str, path: str) -> tuple[Operation, str] | None:
    """Return the operation and the id in the path (empty for a collection), or None."""
    match path.split("/"):
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
