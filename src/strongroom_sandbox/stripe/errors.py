"""Stripe's error shape (docs.stripe.com/api/errors) and the refusals the stand-in answers."""

import msgspec

DOC_URL = "https://docs.stripe.com/error-codes/"


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The ``error`` object of an answer, and the ``last_payment_error`` of an intent.

    ``payment_method`` is an id here; it becomes the whole object when the answer is written.
    """

    type: str
    message: str
    code: str | None = None
    param: str | None = None
    decline_code: str | None = None
    advice_code: str | None = None
    network_decline_code: str | None = None
    network_advice_code: str | None = None
    charge: str | None = None
    payment_method: str | None = None


class Refusal(Exception):
    """A request is refused with ``status`` and ``body``.

    Raised while parameters are read it is not kept under the idempotency key; raised while the
    operation runs it is (docs.stripe.com/api/idempotent_requests).
    """

    def __init__(self, status: int, body: ErrorBody, intent_id: str | None = None) -> None:
        super().__init__(body.message)
        self.status = status
        self.body = body
        self.intent_id = intent_id


def invalid(
    message: str, *, param: str | None = None, code: str | None = None, status: int = 400
) -> Refusal:
    """Build an ``invalid_request_error``."""
    body = ErrorBody(type="invalid_request_error", message=message, param=param, code=code)
    return Refusal(status, body)


def unexpected_state(message: str, intent_id: str) -> Refusal:
    """Build the 400 for a step that the intent's status does not allow; it shows the intent."""
    body = ErrorBody(
        type="invalid_request_error", message=message, code="payment_intent_unexpected_state"
    )
    return Refusal(400, body, intent_id)


def missing_resource(noun: str, object_id: str, param: str, status: int = 404) -> Refusal:
    """Build ``resource_missing``: 404 for the object of the URL, 400 for one in a parameter."""
    message = f"No such {noun}: '{object_id}'"
    return invalid(message, param=param, code="resource_missing", status=status)


def api_error(status: int, message: str) -> Refusal:
    """Build an error on the provider's side."""
    return Refusal(status, ErrorBody(type="api_error", message=message))
