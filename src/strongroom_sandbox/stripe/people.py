"""Customers, and the payment methods that are theirs (docs.stripe.com/api/customers)."""

from typing import Any

from msgspec.structs import replace

from strongroom_sandbox.stripe.attempt import resolve_method
from strongroom_sandbox.stripe.books import Change, Method
from strongroom_sandbox.stripe.cards import CARDS
from strongroom_sandbox.stripe.errors import ErrorBody, Refusal, invalid, missing_resource
from strongroom_sandbox.stripe.form import Tree
from strongroom_sandbox.stripe.outcome import Outcome, Scene, new_id
from strongroom_sandbox.stripe.params import Params, merged_metadata
from strongroom_sandbox.stripe.saved import Person
from strongroom_sandbox.stripe.saved_shapes import person_shown
from strongroom_sandbox.stripe.shapes import Shapes

TEXTS = ("name", "email", "phone", "description")
UNSUPPORTED = frozenset(
    (
        "address", "balance", "business_name", "cash_balance", "customer_account",
        "individual_name", "invoice_prefix", "invoice_settings", "next_invoice_sequence",
        "payment_method", "preferred_locales", "shipping", "source", "tax", "tax_exempt",
        "tax_id_data", "test_clock",
    )
)  # fmt: skip
SAVED_ANYWAY = "chargeCustomerFail"
"""Cards of this name are saved, and declined when they are charged (docs.stripe.com/testing)."""

Fields = dict[str, Any]


def read_person(tree: Tree) -> Fields:
    """Read the parameters of create and update."""
    params = Params(tree, (*TEXTS, "metadata", "expand"), UNSUPPORTED)
    params.expand(frozenset())
    fields: Fields = {name: params.text(name) for name in TEXTS if name in params}
    email = fields.get("email")
    if email is not None and "@" not in email:
        raise invalid("Invalid email address", param="email", code="email_invalid")
    if (metadata := params.metadata()) is not None:
        fields["metadata"] = metadata
    return fields


def find(scene: Scene, person_id: str, param: str = "id", status: int = 404) -> Person:
    """Return a customer. Raises Refusal ``resource_missing``."""
    person = scene.books.people.get(person_id)
    if person is None:
        raise missing_resource("customer", person_id[:100], param, status)
    return person


def create(scene: Scene, fields: Fields) -> Outcome:
    """Make a customer; nothing about it has to be given."""
    person = Person(id=new_id("cus"), created=scene.now)
    return _put(scene, _changed(person, fields))


def update(scene: Scene, person_id: str, fields: Fields) -> Outcome:
    """Change a customer."""
    return _put(scene, _changed(find(scene, person_id), fields))


def retrieve(scene: Scene, person_id: str) -> Outcome:
    """Show a customer."""
    return Outcome(Change(time=scene.now), body=person_shown(find(scene, person_id)))


def read_methods(tree: Tree) -> tuple[str, str | None, str | None, int]:
    """Read the parameters of the list: customer, type, cursor and limit."""
    params = Params(
        tree, ("customer", "type", "limit", "starting_after", "expand"),
        ("allow_redisplay", "customer_account", "ending_before"),
    )  # fmt: skip
    params.expand(frozenset())
    customer = params.required_text("customer")
    return customer, params.text("type"), params.text("starting_after"), params.limit()


def list_methods(
    scene: Scene, command: tuple[str, str | None, str | None, int], shapes: Shapes
) -> Outcome:
    """Show a customer's payment methods, newest first."""
    customer, kind, after, limit = command
    find(scene, customer, "customer", status=400)
    found = [one for one in scene.books.methods.values() if one.customer == customer][::-1]
    if kind not in (None, "card"):
        found = []
    if after is not None:
        places = [place for place, one in enumerate(found) if one.id == after]
        if not places:
            raise missing_resource("PaymentMethod", after[:100], "starting_after", 400)
        found = found[places[0] + 1 :]
    body = {
        "object": "list",
        "url": "/v1/payment_methods",
        "has_more": len(found) > limit,
        "data": [shapes.method(one) for one in found[:limit]],
    }
    return Outcome(Change(time=scene.now), body=body)


def read_attach(tree: Tree) -> str:
    """Read the parameters of attach: whose it is to be."""
    params = Params(tree, ("customer", "expand"), ("customer_account",))
    params.expand(frozenset())
    return params.required_text("customer")


def attach(scene: Scene, method_id: str, customer: str, shapes: Shapes) -> Outcome:
    """Save a payment method to a customer, without an authentication for later."""
    find(scene, customer, "customer", status=400)
    try:
        method, _ = resolve_method(scene, method_id[:200])
    except Refusal:
        raise missing_resource("PaymentMethod", method_id[:100], "payment_method") from None
    check_savable(method, customer)
    if (error := declined(method)) is not None:
        raise Refusal(402, error)
    attached = replace(method, customer=customer)
    return Outcome(Change(time=scene.now, methods=[attached]), body=shapes.method(attached))


def read_method_update(tree: Tree) -> Fields:
    """Read the parameters of update: a new expiry, as a bank gives one."""
    params = Params(
        tree, ("card", "expand"), ("allow_redisplay", "billing_details", "link", "metadata")
    )
    params.expand(frozenset())
    card = params.within("card", ("exp_month", "exp_year"), ("networks",))
    given = {} if card is None else {n: card.integer(n) for n in ("exp_month", "exp_year")}
    month = given.get("exp_month")
    if month is not None and not 1 <= month <= 12:
        raise invalid(
            "Your card's expiration month is invalid.",
            param="card[exp_month]",
            code="invalid_expiry_month",
        )
    return {name: value for name, value in given.items() if value is not None}


def update_method(scene: Scene, method_id: str, fields: Fields, shapes: Shapes) -> Outcome:
    """Change a payment method that is somebody's."""
    method = scene.books.methods.get(method_id)
    if method is None:
        raise missing_resource("PaymentMethod", method_id[:100], "payment_method")
    if method.customer is None:
        raise invalid("You must save this PaymentMethod to a customer before you can update it.")
    changed = replace(method, **fields)
    return Outcome(Change(time=scene.now, methods=[changed]), body=shapes.method(changed))


def detach(scene: Scene, method_id: str, shapes: Shapes) -> Outcome:
    """Take a payment method from its customer; it can never be used again."""
    method = scene.books.methods.get(method_id)
    if method is None:
        raise missing_resource("PaymentMethod", method_id[:100], "payment_method")
    if method.customer is None:
        raise invalid(
            "The payment method you provided is not attached to a customer so detachment is "
            "impossible.",
            param="payment_method",
        )
    loose = replace(method, customer=None, used=True, set_up=False)
    return Outcome(Change(time=scene.now, methods=[loose]), body=shapes.method(loose))


def check_savable(method: Method, customer: str) -> None:
    """Raises Refusal for a payment method that is somebody else's, or was used up."""
    if method.customer not in (None, customer):
        raise invalid(
            "The payment method you provided has already been attached to a customer.",
            param="payment_method",
        )
    if method.customer is None and method.used and not method.set_up:
        raise invalid(
            "This PaymentMethod was previously used without being attached to a Customer or was "
            "detached from a Customer, and may not be used again.",
            param="payment_method",
        )


def declined(method: Method) -> ErrorBody | None:
    """How the issuer declines that a card is saved, or None."""
    decline = CARDS[method.card].decline
    if decline is None or SAVED_ANYWAY in method.card:
        return None
    return ErrorBody(
        type="card_error",
        code=decline.code,
        message=decline.message,
        decline_code=decline.decline_code,
        advice_code=decline.advice_code,
        network_decline_code=decline.network_decline_code,
        network_advice_code=decline.network_advice_code,
    )


def _changed(person: Person, fields: Fields) -> Person:
    if "metadata" in fields:
        fields = fields | {"metadata": merged_metadata(person.metadata, fields["metadata"])}
    return replace(person, **fields)


def _put(scene: Scene, person: Person) -> Outcome:
    return Outcome(Change(time=scene.now, people=[person]), body=person_shown(person))
