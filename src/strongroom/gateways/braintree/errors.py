"""What an error of the SDK, or of its connection, proves: never sent, refused, or nothing."""

from typing import Final

import requests
from braintree import exceptions
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

from strongroom.payments.states import NotSent, Unknown

NEVER_EXECUTED: Final = (exceptions.AuthenticationError, exceptions.AuthorizationError)
"""No valid keys, or no right to do this: nothing was done, and other keys may have it."""
KEY_UNKNOWN: Final = {
    "915232": "idempotency_mismatch",
    "915233": "in_flight_at_gateway",
    "915234": "failed_under_key",
    "915235": "gateway_error_under_key",
}
"""Codes of api_request_key that leave open what became of the request that had the key first."""


def unanswered(error: Exception) -> NotSent | Unknown:
    """What an exception says: only that nothing left, or that Braintree turned it away unread, is
    certain.
    """
    if isinstance(error, NEVER_EXECUTED):
        return NotSent("credentials_refused")
    if isinstance(error, exceptions.TooManyRequestsError):
        return NotSent("rate_limited")
    if isinstance(error, exceptions.NotFoundError):
        return Unknown("not_found")
    if isinstance(error, requests.exceptions.ConnectionError):
        return NotSent("not_reached") if _never_connected(error) else Unknown("connection_lost")
    if isinstance(error, requests.exceptions.RequestException):
        return Unknown("connection_lost")
    if isinstance(error, exceptions.braintree_error.BraintreeError):
        return Unknown("gateway_error")
    return Unknown("malformed_" + type(error).__name__)


def _never_connected(error: requests.exceptions.ConnectionError) -> bool:
    cause = error.args[0] if error.args else None
    if isinstance(cause, MaxRetryError):
        cause = cause.reason
    return isinstance(cause, NewConnectionError | ConnectTimeoutError)
