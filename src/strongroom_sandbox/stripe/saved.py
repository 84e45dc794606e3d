"""What is kept to be charged again: customers, and the SetupIntents that save cards to them."""

import msgspec

from strongroom_sandbox.stripe.errors import ErrorBody


class Person(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A Customer."""

    id: str
    created: int
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    description: str | None = None
    metadata: dict[str, str] = {}


class Setup(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A SetupIntent. It saves its payment method to its customer once it has succeeded."""

    id: str
    client_secret: str
    created: int
    customer: str | None = None
    payment_method: str | None = None
    status: str = "requires_payment_method"
    usage: str = "off_session"
    description: str | None = None
    metadata: dict[str, str] = {}
    payment_method_types: tuple[str, ...] = ("card",)
    redirects: str | None = None
    return_url: str | None = None
    cancellation_reason: str | None = None
    last_setup_error: ErrorBody | None = None
    action_token: str | None = None
