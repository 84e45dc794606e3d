"""SetupIntents: saving a card for later, with 3D Secure (docs.stripe.com/api/setup_intents).

A card that asks for authentication whenever it can is authenticated here; what is saved with
``usage`` off_session may then be charged while its owner is away.
"""

from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from strongroom_sandbox.stripe import people
from strongroom_sandbox.stripe.attempt import resolve_method
from strongroom_sandbox.stripe.books import Change, Method
from strongroom_sandbox.stripe.cards import CARDS, Challenge
from strongroom_sandbox.stripe.errors import ErrorBody, Refusal, invalid, missing_resource
from strongroom_sandbox.stripe.form import Tree
from strongroom_sandbox.stripe.outcome import Outcome, Scene, new_id, new_secret
from strongroom_sandbox.stripe.params import Params
from strongroom_sandbox.stripe.saved import Setup
from strongroom_sandbox.stripe.saved_shapes import setup_shown
from strongroom_sandbox.stripe.shapes import Shapes

CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
REASONS = ("abandoned", "duplicate", "requested_by_customer")
EXPAND = frozenset(("payment_method",))
CREATE = frozenset(
    (
        "confirm", "customer", "description", "expand", "metadata", "payment_method",
        "allowed_payment_method_types", "automatic_payment_methods", "return_url", "usage",
    )
)  # fmt: skip
UNSUPPORTED = frozenset(
    (
        "attach_to_self", "confirmation_token",
        "customer_account", "excluded_payment_method_types", "flow_directions", "mandate_data",
        "on_behalf_of", "payment_method_configuration", "payment_method_data",
        "payment_method_options", "single_use", "use_stripe_sdk",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Command:
    """What create and confirm are given; ``fields`` are those of the Setup, as they stand."""

    fields: dict[str, Any]
    payment_method: str | None
    confirm: bool
    expand: tuple[str, ...]


def read_create(tree: Tree) -> Command:
    """Read the parameters of create. Raises Refusal (400)."""
    params = Params(tree, CREATE, UNSUPPORTED)
    confirm = params.boolean("confirm") or False
    if "return_url" in params and not confirm:
        raise invalid("return_url can only be used with confirm=true", param="return_url")
    types = params.words("allowed_payment_method_types")
    if any(kind != "card" for kind in types):
        raise invalid("This account saves cards.", param="allowed_payment_method_types")
    automatic = params.within("automatic_payment_methods", ("enabled", "allow_redirects"))
    redirects = None
    if not types:
        redirects = "always"
        if automatic is not None:
            redirects = automatic.choice("allow_redirects", ("always", "never")) or "always"
    fields = {
        "customer": params.text("customer"),
        "description": params.text("description", characters_max=1000),
        "metadata": {k: v for k, v in (params.metadata() or {}).items() if v != ""},
        "usage": params.choice("usage", ("off_session", "on_session")) or "off_session",
        "return_url": params.url("return_url"),
        "redirects": redirects,
    }
    method = params.text("payment_method")
    return Command(fields, method, confirm, params.expand(EXPAND))


def read_confirm(tree: Tree) -> Command:
    """Read the parameters of confirm. Raises Refusal (400)."""
    params = Params(tree, ("expand", "payment_method", "return_url"), UNSUPPORTED)
    fields = {"return_url": params.url("return_url")} if "return_url" in params else {}
    return Command(fields, params.text("payment_method"), True, params.expand(EXPAND))


def read_cancel(tree: Tree) -> tuple[str | None, tuple[str, ...]]:
    """Read the parameters of cancel."""
    params = Params(tree, ("cancellation_reason", "expand"))
    return params.choice("cancellation_reason", REASONS), params.expand(EXPAND)


def find(scene: Scene, setup_id: str) -> Setup:
    """Return a SetupIntent. Raises Refusal ``resource_missing`` (404)."""
    setup = scene.books.setups.get(setup_id)
    if setup is None:
        raise missing_resource("setupintent", setup_id[:100], "intent")
    return setup


def retrieve(scene: Scene, setup_id: str, expand: tuple[str, ...], shapes: Shapes) -> Outcome:
    """Show a SetupIntent."""
    setup = find(scene, setup_id)
    method = scene.books.methods.get(setup.payment_method or "")
    return Outcome(Change(time=scene.now), body=setup_shown(shapes, setup, method, expand))


def create(scene: Scene, command: Command, shapes: Shapes) -> Outcome:
    """Make a SetupIntent and, when asked, confirm it at once."""
    customer = command.fields["customer"]
    if customer is not None:
        people.find(scene, customer, "customer", status=400)
    setup_id = new_id("seti")
    setup = Setup(
        id=setup_id,
        client_secret=f"{setup_id}_secret_{new_secret()}",
        created=scene.now,
        **command.fields,
    )
    change = Change(time=scene.now)
    method: Method | None = None
    if command.payment_method is not None:
        method = _taken(scene, setup, command.payment_method, change)
        setup = replace(setup, payment_method=method.id, status="requires_confirmation")
    if command.confirm:
        return _confirm(setup, method, change, (command.expand, shapes))
    return _put(setup, method, change, (command.expand, shapes))


def confirm(scene: Scene, setup_id: str, command: Command, shapes: Shapes) -> Outcome:
    """Confirm a SetupIntent with the method given, or the one it holds."""
    setup = find(scene, setup_id)
    if setup.status not in CONFIRMABLE:
        raise _unexpected(f"You cannot confirm a SetupIntent with a status of {setup.status}.")
    setup, change = replace(setup, **command.fields), Change(time=scene.now)
    method = scene.books.methods.get(setup.payment_method or "")
    if command.payment_method is not None:
        method = _taken(scene, setup, command.payment_method, change)
    return _confirm(setup, method, change, (command.expand, shapes))


def cancel(
    scene: Scene, setup_id: str, command: tuple[str | None, tuple[str, ...]], shapes: Shapes
) -> Outcome:
    """Cancel a SetupIntent: it saves nothing any more."""
    setup, (reason, expand) = find(scene, setup_id), command
    if setup.status not in CONFIRMABLE:
        raise _unexpected(f"You cannot cancel a SetupIntent with a status of {setup.status}.")
    canceled = replace(setup, status="canceled", cancellation_reason=reason, action_token=None)
    method = scene.books.methods.get(setup.payment_method or "")
    return _put(canceled, method, Change(time=scene.now), (expand, shapes))


def authenticated(scene: Scene, setup: Setup, *, passed: bool) -> Change:
    """End a 3D Secure challenge."""
    change = Change(time=scene.now)
    method = scene.books.methods.get(setup.payment_method or "")
    if method is not None and passed:
        error = people.declined(method)
        if error is None:
            change.methods.append(_saved(setup, method))
            # The token stays: whoever comes to the page again is told how it ended.
            change.setups.append(replace(setup, status="succeeded"))
            return change
    else:
        error = ErrorBody(
            type="invalid_request_error",
            code="setup_intent_authentication_failure",
            message="The payment method could not be authenticated.",
        )
    change.setups.append(_failed(setup, error))
    return change


def _confirm(
    setup: Setup,
    method: Method | None,
    change: Change,
    shown: tuple[tuple[str, ...], Shapes],
) -> Outcome:
    if method is None:
        raise _unexpected("You cannot confirm this SetupIntent: it's missing a payment method.")
    if setup.customer is not None:
        people.check_savable(method, setup.customer)
    if setup.redirects == "always" and setup.return_url is None:
        raise invalid("Give a `return_url`.", param="return_url")
    setup = replace(setup, payment_method=method.id, last_setup_error=None, action_token=None)
    if CARDS[method.card].challenge not in (Challenge.NEVER, Challenge.ON_REQUEST):
        waiting = replace(setup, status="requires_action", action_token=new_secret())
        return _put(waiting, method, change, shown)
    error = people.declined(method)
    if error is not None:
        failed = _failed(setup, error)
        outcome = _put(failed, method, change, shown)
        shapes = shown[1]
        outcome.body = {
            "error": shapes.error(error) | {"setup_intent": setup_shown(shapes, failed, method, ())}
        }
        outcome.status = 402
        return outcome
    saved = _saved(setup, method)
    change.methods[:] = [*(one for one in change.methods if one.id != saved.id), saved]
    return _put(replace(setup, status="succeeded"), saved, change, shown)


def _saved(setup: Setup, method: Method) -> Method:
    if setup.customer is None:
        return method
    set_up = method.set_up or setup.usage == "off_session"
    return replace(method, customer=setup.customer, set_up=set_up)


def _failed(setup: Setup, error: ErrorBody) -> Setup:
    return replace(
        setup,
        status="requires_payment_method",
        payment_method=None,
        last_setup_error=error,
    )


def _taken(scene: Scene, setup: Setup, offered: str, change: Change) -> Method:
    method, is_new = resolve_method(scene, offered)
    if setup.customer is not None:
        people.check_savable(method, setup.customer)
    if is_new:
        change.methods.append(method)
    return method


def _put(
    setup: Setup, method: Method | None, change: Change, shown: tuple[tuple[str, ...], Shapes]
) -> Outcome:
    expand, shapes = shown
    change.setups.append(setup)
    return Outcome(change, body=setup_shown(shapes, setup, method, expand))


def _unexpected(message: str) -> Refusal:
    return invalid(message, code="setup_intent_unexpected_state")
