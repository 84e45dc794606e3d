"""The Stripe adapter: create the PaymentIntent unconfirmed, commit its id, confirm it by id.

Nothing moves money before the confirm, and a PaymentIntent takes money at most once, so whatever
happens in between can be learnt by retrieving it (docs.stripe.com/payments/paymentintents).
"""

import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import stripe
from stripe import PaymentIntent, PaymentIntentService, StripeClient, StripeError

from strongroom.clock import Clock
from strongroom.gateways.port import Account, Prepared
from strongroom.gateways.stripe.declines import classify
from strongroom.gateways.stripe.money import from_stripe, to_stripe
from strongroom.ids import to_text
from strongroom.payments.states import (
    ActionRequired,
    Answer,
    Approved,
    Attempt,
    Call,
    Canceled,
    Declined,
    Mismatched,
    NotSent,
    Payment,
    Pending,
    Unknown,
)

LIVE_URL: Final = "https://api.stripe.com"
SOCKET_TIMEOUT_SECONDS: Final = 600.0
"""Longer than any deadline of ours: an answer that comes late is still worth hearing."""
CONNECTIONS_MAX: Final = 512
NEVER_EXECUTED: Final = frozenset({401, 403, 429})
"""Stripe answers these before its idempotency layer: the request did nothing."""

stripe.enable_telemetry = False


Stamp = tuple[int, int, int]
"""Inode, size and time of change in ns: another one means that the file was written anew."""


class CredentialsUnreadable(Exception):
    """The account's secret could not be read from its file; nothing was sent."""


class _Kept(NamedTuple):
    """A client with the secret that stood in the account's file at `stamp`."""

    stamp: Stamp | None
    client: StripeClient
    http: stripe.HTTPClient


class StripeGateway:
    """One adapter for all of a process's Stripe accounts; keeps a client per account."""

    staged = True

    def __init__(self, clock: Clock, default_return_url: str) -> None:
        self._clock = clock
        self._default_return_url = default_return_url
        self._clients: dict[Account, _Kept] = {}

    def parameters(self, payment: Payment) -> Mapping[str, Any]:
        """Parameters of create and confirm; references only, no personal data."""
        return {
            "create": {
                "amount": to_stripe(payment.amount_minor, payment.currency),
                "currency": payment.currency.lower(),
                "payment_method": payment.instrument_token,
                "payment_method_types": ["card"],
                "metadata": {
                    "strongroom_payment": to_text("pay", payment.payment_id),
                    "strongroom_attempt": str(payment.attempt_no),
                    "merchant_reference": payment.merchant_reference,
                },
            },
            "confirm": {"return_url": payment.return_url or self._default_return_url},
        }

    async def prepare(self, account: Account, attempt: Attempt) -> tuple[Prepared | Answer, Call]:
        """Creates the PaymentIntent unconfirmed. NotSent when that failed: no money can move."""
        answer, call, intent = await self._ask(
            "create",
            account,
            attempt,
            lambda intents: intents.create_async(
                attempt.parameters["create"],
                {"idempotency_key": attempt.gateway_key + "_create"},
            ),
        )
        if isinstance(answer, Unknown) and answer.why != "idempotency_mismatch":
            fresh = call.http_status is not None and call.http_status >= 500
            return NotSent(answer.why, fresh_key=fresh), call
        if isinstance(answer, Declined):
            return Declined(answer.decline, answer.raw_code, object_open=False), call
        if intent is None or isinstance(answer, Mismatched):
            return answer, call
        return Prepared(intent.id), call

    async def send(self, account: Account, attempt: Attempt) -> tuple[Answer, Call]:
        """Confirms the PaymentIntent by its id."""
        answer, call, _ = await self._ask(
            "confirm",
            account,
            attempt,
            lambda intents: intents.confirm_async(
                attempt.gateway_object_id or "",
                attempt.parameters["confirm"],
                {"idempotency_key": attempt.gateway_key + "_confirm"},
            ),
        )
        return answer, call

    async def look(self, account: Account, attempt: Attempt) -> tuple[Answer, Call]:
        """Retrieves the PaymentIntent; anything but the object itself leaves it Unknown."""
        if attempt.gateway_object_id is None:
            call = Call(
                operation="retrieve",
                started_at=self._clock.now(),
                duration_ms=0.0,
                outcome="no_object_id",
            )
            return Unknown("no_object_id"), call
        object_id = attempt.gateway_object_id
        answer, call, intent = await self._ask(
            "retrieve", account, attempt, lambda intents: intents.retrieve_async(object_id)
        )
        return (answer if intent is not None else Unknown(call.outcome)), call

    async def cancel(self, account: Account, attempt: Attempt) -> tuple[Answer, Call]:
        """Cancels the PaymentIntent; when it was faster, answers with what it has become."""
        answer, call, _ = await self._ask(
            "cancel",
            account,
            attempt,
            lambda intents: intents.cancel_async(
                attempt.gateway_object_id or "",
                {"cancellation_reason": "abandoned"},
                {"idempotency_key": f"{attempt.gateway_key}_cancel_{self._moment()}"},
            ),
        )
        if isinstance(answer, Declined):
            return Unknown("cancel_refused"), call
        return answer, call

    async def close(self) -> None:
        """Closes the connections to Stripe."""
        for kept in self._clients.values():
            await kept.http.close_async()
        self._clients.clear()

    def _moment(self) -> int:
        """Cancel is idempotent by itself, so each has a key of its own: a 500 stored under one
        would be repeated for a day.
        """
        return int(self._clock.now().timestamp() * 1_000_000)

    def _client(self, account: Account) -> StripeClient:
        """The account's client; its secret follows the file, its connections stay.

        Raises CredentialsUnreadable.
        """
        known = self._clients.get(account)
        file = Path(account.secret_file)
        try:
            found = file.stat()
            stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
            if known is not None and known.stamp == stamp:
                return known.client
            secret = file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise CredentialsUnreadable from None
        http = known.http if known is not None else _connections()
        url = account.base_url if account.environment == "stand_in" else LIVE_URL
        client = StripeClient(
            secret,
            base_addresses={"api": url or LIVE_URL},
            http_client=http,
            max_network_retries=0,
        )
        self._clients[account] = _Kept(stamp, client, http)
        return client

    def _read_secret_again(self, account: Account) -> None:
        """It was refused: the next call reads the file, whatever its stamp says."""
        if (known := self._clients.get(account)) is not None:
            self._clients[account] = known._replace(stamp=None)

    async def _ask(
        self,
        operation: str,
        account: Account,
        attempt: Attempt,
        request: Callable[[PaymentIntentService], Awaitable[PaymentIntent]],
    ) -> tuple[Answer, Call, PaymentIntent | None]:
        started_at, started = self._clock.now(), time.perf_counter()
        answer: Answer
        intent: PaymentIntent | None = None
        http_status: int | None = None
        request_id: str | None = None
        try:
            intents = self._client(account).v1.payment_intents
            try:
                intent = await request(intents)
                answer = read_intent(intent, attempt)
                response = intent.last_response
                if response is not None:
                    http_status, request_id = response.code, response.request_id
            except StripeError as error:
                http_status, request_id = error.http_status, error.request_id
                answer, intent = read_error(error, attempt)
                if http_status == 401:
                    self._read_secret_again(account)
        except CredentialsUnreadable:
            answer = NotSent("credentials_unreadable")
        except Exception as error:  # noqa: BLE001 - whatever broke, the request had left
            answer, intent = Unknown("malformed_" + type(error).__name__), None
        call = Call(
            operation=operation,
            started_at=started_at,
            duration_ms=round((time.perf_counter() - started) * 1000, 3),
            outcome=str(intent.status) if intent is not None else _word(answer),
            http_status=http_status,
            gateway_request_id=request_id,
            code=answer.raw_code if isinstance(answer, Declined) else None,
        )
        return answer, call, intent


def _connections() -> stripe.HTTPClient:
    return stripe.AIOHTTPClient(
        timeout=SOCKET_TIMEOUT_SECONDS,
        connector=aiohttp.TCPConnector(
            limit=CONNECTIONS_MAX,
            ssl=ssl.create_default_context(cafile=stripe.ca_bundle_path),
        ),
    )


def _word(answer: Answer) -> str:
    if isinstance(answer, NotSent | Unknown):
        return answer.why
    return type(answer).__name__.lower()


def read_intent(intent: PaymentIntent, attempt: Attempt) -> Answer:
    """What a PaymentIntent says about the attempt that it belongs to."""
    known = attempt.gateway_object_id
    if not intent.id or (known is not None and intent.id != known):
        return Unknown("another_object")
    currency, status = intent.currency.upper(), str(intent.status)
    amount_minor = from_stripe(intent.amount, currency)
    if (amount_minor, currency) != (attempt.amount_minor, attempt.currency):
        return Mismatched(amount_minor or 0, currency)
    match status:
        case "succeeded":
            received = from_stripe(intent.amount_received, currency)
            return Approved(received if received is not None else -1, currency)
        case "requires_action":
            return ActionRequired(_next_action(intent))
        case "processing":
            return Pending()
        case "canceled":
            return Canceled()
        case "requires_payment_method":
            failure = intent.last_payment_error
            if failure is None:
                return NotSent("instrument_missing_at_gateway", fresh_key=True)
            decline, raw = classify(
                getattr(failure, "code", None), getattr(failure, "decline_code", None)
            )
            return Declined(decline, raw, object_open=True)
        case "requires_confirmation":
            return NotSent("not_confirmed_yet")
        case _:
            return Unknown("unexpected_status")


def _next_action(intent: PaymentIntent) -> dict[str, Any]:
    action = intent.next_action
    if action is not None and action.type == "redirect_to_url":
        redirect = action.redirect_to_url
        return {"type": "redirect_to_url", "url": redirect.url if redirect else None}
    return {"type": action.type if action is not None else "unknown"}


def read_error(error: StripeError, attempt: Attempt) -> tuple[Answer, PaymentIntent | None]:
    """What an error of the SDK says, and the PaymentIntent inside it, if there is one."""
    body = error.error
    code = (body.code if body is not None else None) or error.code
    kind = getattr(body, "type", None)
    intent = getattr(body, "payment_intent", None)
    status = error.http_status
    if isinstance(error, stripe.APIConnectionError):
        refused = isinstance(error.__cause__, aiohttp.ClientConnectorError)
        return (NotSent("not_reached") if refused else Unknown("connection_lost")), None
    if kind == "idempotency_error" or isinstance(error, stripe.IdempotencyError):
        return Unknown("idempotency_mismatch"), None
    if status in NEVER_EXECUTED:
        return NotSent("rate_limited" if status == 429 else "credentials_refused"), None
    if status == 409:
        return Unknown("in_flight_at_gateway"), None
    if isinstance(error, stripe.CardError) or status == 402:
        decline, raw = classify(code, getattr(body, "decline_code", None))
        return Declined(decline, raw, object_open=True), None
    if code == "payment_intent_unexpected_state" and isinstance(intent, PaymentIntent):
        return read_intent(intent, attempt), intent
    if status is not None and 400 <= status < 500:
        missing = code == "resource_missing" and getattr(body, "param", "") == "payment_method"
        raw = (code or "invalid_request")[:100]
        if missing:
            return Declined("invalid_instrument", raw, object_open=True), None
        return Declined("config_error", raw, object_open=True), None
    return Unknown("gateway_error"), None
