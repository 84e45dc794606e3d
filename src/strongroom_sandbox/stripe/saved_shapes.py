"""How customers and SetupIntents look on the wire (API 2026-10-28)."""

from strongroom_sandbox.stripe.books import Method
from strongroom_sandbox.stripe.saved import Person, Setup
from strongroom_sandbox.stripe.shapes import Json, Shapes, redirect


def person_shown(person: Person) -> Json:
    """Render a Customer."""
    return {
        "id": person.id,
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": person.created,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": person.description,
        "discount": None,
        "email": person.email,
        "livemode": False,
        "metadata": person.metadata,
        "name": person.name,
        "phone": person.phone,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }


def setup_shown(
    shapes: Shapes, setup: Setup, method: Method | None, expand: tuple[str, ...] = ()
) -> Json:
    """Render a SetupIntent; ``expand`` may name payment_method."""
    shown: str | Json | None = setup.payment_method
    if method is not None and shown is not None and "payment_method" in expand:
        shown = shapes.method(method)
    error, action = setup.last_setup_error, None
    if setup.status == "requires_action" and setup.action_token is not None:
        action = redirect(shapes.action_url(setup.action_token), setup.return_url)
    return {
        "id": setup.id,
        "object": "setup_intent",
        "application": None,
        "automatic_payment_methods": None
        if setup.redirects is None
        else {"allow_redirects": setup.redirects, "enabled": True},
        "cancellation_reason": setup.cancellation_reason,
        "client_secret": setup.client_secret,
        "created": setup.created,
        "customer": setup.customer,
        "description": setup.description,
        "flow_directions": None,
        "last_setup_error": None if error is None else shapes.error(error),
        "latest_attempt": None,
        "livemode": False,
        "mandate": None,
        "metadata": setup.metadata,
        "next_action": action,
        "on_behalf_of": None,
        "payment_method": shown,
        "payment_method_options": {
            "card": {
                "mandate_options": None,
                "network": None,
                "request_three_d_secure": "automatic",
            }
        },
        "payment_method_types": setup.payment_method_types,
        "single_use_mandate": None,
        "status": setup.status,
        "usage": setup.usage,
    }
