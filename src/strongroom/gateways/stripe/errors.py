"""What an error of the SDK proves: never executed, refused for good, or nothing at all."""

import re
from typing import Final

import aiohttp
import stripe
from stripe import StripeError

from strongroom.payments.states import NotSent, Unknown

NEVER_EXECUTED: Final = frozenset({401, 403, 429})
"""Stripe answers these before its idempotency layer: the request did nothing."""
DEFINITE: Final = frozenset({400, 402, 404})
"""Stripe looked at the request and will not do it (docs.stripe.com/api/errors)."""
CODE_CHARACTERS_MAX: Final = 100
_NO_CODE: Final = re.compile(r"[^A-Za-z0-9_.\[\]-]")


def unanswered(error: StripeError) -> NotSent | Unknown | None:
    """What an error says that is no answer of Stripe's to the request; None when it is one.

    Only an error in Stripe's own words is an answer: a 4xx page of something in between is not.
    """
    body = error.error
    status = error.http_status
    if isinstance(error, stripe.APIConnectionError):
        refused = isinstance(error.__cause__, aiohttp.ClientConnectorError)
        return NotSent("not_reached") if refused else Unknown("connection_lost")
    if getattr(body, "type", None) == "idempotency_error" or isinstance(
        error, stripe.IdempotencyError
    ):
        return Unknown("idempotency_mismatch")
    if status == 429 or isinstance(error, stripe.RateLimitError):
        return NotSent("rate_limited")
    if status in NEVER_EXECUTED:
        return NotSent("credentials_refused")
    if status == 409:
        return Unknown("in_flight_at_gateway")
    if status not in DEFINITE or getattr(body, "type", None) is None:
        return Unknown("gateway_error")
    return None


def code_of(error: StripeError) -> str:
    """Stripe's code for a refusal; where it gives none, the parameter that it does not like."""
    body = error.error
    code = getattr(body, "code", None) or error.code
    param = getattr(body, "param", None)
    found = code or (f"invalid_{param}" if param else "invalid_request")
    return _NO_CODE.sub("_", str(found)[:CODE_CHARACTERS_MAX])
