"""The operations on payments, the same behind the front door and behind Litestar."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, assert_never
from uuid import UUID

import asyncpg
import msgspec
import structlog

from strongroom.access.api_keys import ApiKeys, Credential
from strongroom.clock import Clock, microseconds_since_epoch
from strongroom.database import UNREACHABLE
from strongroom.errors import (
    Conflict,
    Forbidden,
    Invalid,
    Problem,
    Unavailable,
    described,
    no_such_payment,
)
from strongroom.gateways.accounts import Accounts
from strongroom.gateways.port import Account
from strongroom.http import bodies
from strongroom.http.exchange import Asked, Reply, internal_error, json_reply, problem_reply
from strongroom.http.listing import PaymentList, PaymentView, read_query, view_of
from strongroom.http.waiting import Waiting
from strongroom.ids import MalformedId, from_text, new_id, to_text
from strongroom.payments.accept import (
    Acceptor,
    Created,
    KeyReused,
    ReferenceTaken,
    Replayed,
    Request,
    TryAgain,
)
from strongroom.payments.confirm import (
    Confirmation,
    KeyUsedElsewhere,
    UnknownPayment,
    confirm,
)
from strongroom.payments.idempotency import fingerprint, gateway_key_seed
from strongroom.payments.journal import accepted_payload
from strongroom.payments.reads import list_payments, read_payments
from strongroom.payments.states import CustomerReturned, InstrumentBrought, NotPossible, Payment
from strongroom.work.batch import OutcomeOfCommitUnknown, QueueFull, Refused

CREATE_PATH: Final = "/v1/payments"

log = structlog.get_logger()

_create_decoder: Final = msgspec.json.Decoder(bodies.CreatePayment)
_confirm_decoder: Final = msgspec.json.Decoder(bodies.ConfirmPayment)
_CREATE_FIELDS: Final = ", ".join(bodies.CreatePayment.__struct_fields__)
_CONFIRM_FIELDS: Final = ", ".join(bodies.ConfirmPayment.__struct_fields__)


class PaymentOperations:
    """What can be asked for payments over HTTP; each method answers with a Reply, always."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        clock: Clock,
        keys: ApiKeys,
        accounts: Accounts,
        amount_rules: Mapping[str, Callable[[int, str], str | None]],
        acceptor: Acceptor,
        waiting: Waiting,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._keys = keys
        self._accounts = accounts
        self._amount_rules = amount_rules
        self._acceptor = acceptor
        self._waiting = waiting
        self._random_bytes = random_bytes

    async def create(self, asked: Asked) -> Reply:
        """POST /v1/payments."""
        return await _answer(self._create, asked)

    async def confirm(self, asked: Asked, payment_text: str) -> Reply:
        """POST /v1/payments/{id}/confirm."""
        return await _answer(self._confirm, asked, payment_text)

    async def get(self, asked: Asked, payment_text: str) -> Reply:
        """GET /v1/payments/{id}."""
        return await _answer(self._get, asked, payment_text)

    async def list_page(self, asked: Asked, query: dict[str, list[str]]) -> Reply:
        """GET /v1/payments."""
        return await _answer(self._list, asked, query)

    async def _authorise(self, asked: Asked, scope: str) -> Credential:
        credential = await self._keys.authenticate(asked.authorization)
        if scope not in credential.scopes:
            raise Forbidden(
                "scope_missing",
                f"The API key does not have the scope {scope}.",
                f"Use a key with {scope}; `strongroom keys create --scope {scope}` makes one.",
            )
        return credential

    async def _create(self, asked: Asked) -> Reply:
        credential = await self._authorise(asked, "payments:write")
        key = bodies.check_idempotency_key(asked)
        body = bodies.decode(asked, _create_decoder, _CREATE_FIELDS)
        request = await self._request(credential, key, body)
        outcome = await self._acceptor.accept(request)
        if request.replay_only and isinstance(outcome, ReferenceTaken | TryAgain):
            raise bodies.not_after_invalid()
        match outcome:
            case Created(payment):
                return await self._reply(asked, payment, replayed=False, created=True)
            case Replayed(payment):
                return await self._reply(asked, payment, replayed=True, created=False)
            case KeyReused():
                raise _key_reused()
            case ReferenceTaken(holder):
                raise Conflict(
                    "merchant_reference_taken",
                    "Another payment that may still charge, or has charged, carries this "
                    "merchant_reference.",
                    "Look at the payment in payment_id; make a new reference for a new order.",
                    field="merchant_reference",
                    payment_id=to_text("pay", holder),
                )
            case TryAgain():
                raise _unavailable("accept_contended", "Requests got in each other's way.")
        assert_never(outcome)

    async def _request(
        self, credential: Credential, key: str, body: bodies.CreatePayment
    ) -> Request:
        now = self._clock.now()
        currency, not_after = bodies.check_create(body, now)
        entity = credential.legal_entity_id
        account = None
        if body.instrument is not None:
            account = await self._account(entity, body.instrument.gateway)
            self._check_amount(account, body.amount, currency)
        payment = Payment(
            legal_entity_id=entity,
            payment_id=new_id(microseconds_since_epoch(now), entity),
            version=1,
            status="requires_payment_method" if account is None else "processing",
            amount_minor=body.amount,
            currency=currency,
            merchant_reference=body.merchant_reference,
            description=body.description,
            metadata=body.metadata,
            return_url=body.return_url,
            gateway=account.gateway if account else None,
            gateway_account_id=account.gateway_account_id if account else None,
            instrument_token=body.instrument.token if body.instrument else None,
            not_after=not_after,
            gateway_key_seed=gateway_key_seed(entity, key),
            digest_salt=self._random_bytes(16),
            created_at=now,
            updated_at=now,
        )
        return Request(
            payment=payment,
            idempotency_key=key,
            fingerprint=fingerprint("POST", CREATE_PATH, bodies.stable_fields(body)),
            actor=credential.actor,
            run_at=not_after if account is None else now,
            row_digest=payment.row_digest(),
            payload=accepted_payload(payment, key),
            replay_only=not_after <= now,
        )

    async def _account(self, legal_entity_id: UUID, gateway_name: str) -> Account:
        """The account that will take the payment. Raises Invalid when there is none."""
        account = await self._accounts.choose(legal_entity_id, gateway_name)
        if account is None:
            raise Invalid(
                "gateway_account_missing",
                f"The legal entity has no account at {gateway_name}.",
                "Add one with `strongroom gateway-accounts add`.",
                field="instrument.gateway",
            )
        return account

    def _check_amount(self, account: Account, amount_minor: int, currency: str) -> None:
        """Raises Invalid when the gateway cannot take the amount."""
        refusal = self._amount_rules[account.gateway](amount_minor, currency)
        if refusal is not None:
            raise Invalid(
                "amount_not_representable",
                refusal,
                "Choose another amount, currency or gateway.",
                field="amount",
            )

    async def _confirm(self, asked: Asked, payment_text: str) -> Reply:
        credential = await self._authorise(asked, "payments:write")
        payment_id = _payment_id(payment_text)
        key = bodies.check_idempotency_key(asked)
        body = bodies.decode(asked, _confirm_decoder, _CONFIRM_FIELDS)
        bodies.check_instrument(body.instrument)
        bodies.check_return_url(body.return_url)

        instrument, account = body.instrument, None
        if instrument is not None:
            account = await self._account(credential.legal_entity_id, instrument.gateway)

        def happening(payment: Payment) -> InstrumentBrought | CustomerReturned:
            if instrument is None or account is None:
                return CustomerReturned()
            self._check_amount(account, payment.amount_minor, payment.currency)
            return InstrumentBrought(
                account.gateway, account.gateway_account_id, instrument.token, body.return_url
            )

        path = f"{CREATE_PATH}/{payment_text}/confirm"
        confirmation = Confirmation(
            legal_entity_id=credential.legal_entity_id,
            payment_id=payment_id,
            idempotency_key=key,
            fingerprint=fingerprint("POST", path, bodies.stable_fields(body)),
            actor=credential.actor,
            at=self._clock.now(),
        )
        try:
            confirmed = await confirm(self._pool, confirmation, happening)
        except UnknownPayment:
            raise no_such_payment() from None
        except KeyUsedElsewhere:
            raise _key_reused() from None
        except NotPossible as refusal:
            raise _not_possible(refusal) from None
        return await self._reply(
            asked, confirmed.payment, replayed=confirmed.replayed, created=False
        )

    async def _reply(
        self, asked: Asked, payment: Payment, *, replayed: bool, created: bool
    ) -> Reply:
        seconds = bodies.wait_seconds(asked)
        headers: list[tuple[str, str]] = []
        if seconds:
            payment = await self._waiting.settled(payment, seconds)
            headers.append(("preference-applied", f"wait={seconds}"))
        if replayed:
            headers.append(("idempotent-replayed", "true"))
        view = view_of(payment)
        headers.append(("location", f"{CREATE_PATH}/{view.id}"))
        status = 202 if payment.status == "processing" else 201 if created else 200
        return json_reply(status, view, *headers)

    async def _get(self, asked: Asked, payment_text: str) -> Reply:
        credential = await self._authorise(asked, "payments:read")
        payment_id = _payment_id(payment_text)
        found = await read_payments(self._pool, {payment_id: credential.legal_entity_id})
        if not found:
            raise no_such_payment()
        payment = found[0]
        seconds = bodies.wait_seconds(asked)
        if seconds:
            payment = await self._waiting.settled(payment, seconds)
        return json_reply(200, view_of(payment))

    async def _list(self, asked: Asked, query: dict[str, list[str]]) -> Reply:
        credential = await self._authorise(asked, "payments:read")
        filters, below, limit = read_query(query)
        page = await list_payments(self._pool, credential.legal_entity_id, filters, below, limit)
        views: list[PaymentView] = [view_of(payment) for payment in page.payments]
        cursor = None if page.below is None else to_text("pay", page.below)
        return json_reply(200, PaymentList(data=views, next_cursor=cursor))


async def _answer(operation: Callable[..., Awaitable[Reply]], *arguments: Any) -> Reply:
    """Runs an operation; whatever it raises becomes a problem document."""
    try:
        return await operation(*arguments)
    except Problem as problem:
        return problem_reply(problem)
    except QueueFull:
        return problem_reply(_unavailable("queue_full", "Too many requests are waiting."))
    except OutcomeOfCommitUnknown:
        return problem_reply(
            _unavailable(
                "accept_unknown", "The database did not say whether the payment is stored."
            )
        )
    except Refused as refused:
        log.warning("refused_by_database", error=type(refused.__cause__).__name__)
        return problem_reply(
            Invalid(
                "refused_by_database",
                "The database refused this request; nothing of it was stored.",
                "Check amounts and lengths; if they are right, tell the operator.",
            )
        )
    except (*UNREACHABLE, asyncpg.SerializationError) as error:
        log.warning("database_out_of_reach", error=type(error).__name__)
        return problem_reply(_unavailable("database_unavailable", "The database does not answer."))
    except Exception as bug:  # noqa: BLE001 - no bug may leave a caller without an answer
        log.error("operation_failed", **described(bug))
        return problem_reply(internal_error())


def _payment_id(text: str) -> UUID:
    try:
        return from_text("pay", text)
    except MalformedId:
        raise no_such_payment() from None


def _unavailable(code: str, detail: str) -> Unavailable:
    return Unavailable(
        code,
        detail,
        "Send the same request with the same Idempotency-Key again; it cannot charge twice.",
        retry_after_seconds=1,
    )


def _key_reused() -> Invalid:
    return Invalid(
        "idempotency_key_reused",
        "This Idempotency-Key was used before for a request with other content.",
        "Make a new key for a new intent; send the old content to get the old answer.",
    )


def _not_possible(refusal: NotPossible) -> Conflict:
    reasons = {
        "payment_has_an_instrument": (
            "The payment has an instrument already.",
            "To continue after an action, confirm without an instrument; else make a new payment.",
        ),
        "not_after_passed": (
            "The time in which the payment may be sent has passed.",
            "Make a new payment.",
        ),
        "instrument_missing": (
            "The payment waits for an instrument.",
            "Confirm with an instrument.",
        ),
        "payment_is_over": (
            "The payment has come to its end.",
            "Look at its status; make a new payment for a new charge.",
        ),
    }
    detail, what_to_do = reasons[refusal.code]
    return Conflict(refusal.code, detail, what_to_do)
