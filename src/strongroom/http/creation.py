"""Creating payments, one or many: from what a body says to what is stored, and to an answer."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, assert_never
from uuid import UUID

from msgspec import Struct

from strongroom.access.api_keys import Credential
from strongroom.clock import Clock, microseconds_since_epoch
from strongroom.errors import Conflict, Invalid, Problem, Unavailable
from strongroom.gateways.port import Account
from strongroom.http import bodies
from strongroom.http.instruments import Instruments, account_missing
from strongroom.http.listing import CREATE_PATH
from strongroom.ids import new_ids, to_text
from strongroom.payments.accept import (
    Acceptor,
    Created,
    KeyReused,
    Outcome,
    ReferenceTaken,
    Replayed,
    Request,
    TryAgain,
)
from strongroom.payments.idempotency import fingerprint, gateway_key_seed
from strongroom.payments.journal import accepted_payload
from strongroom.payments.states import Payment

SALT_BYTES: Final = 16


class Wanted(Struct, frozen=True):
    """A payment that a caller asks for under a key that has been checked."""

    idempotency_key: str
    body: bodies.CreatePayment


class Accepted(Struct, frozen=True):
    """A payment that is on disk; `replayed`: its key had made it before."""

    payment: Payment
    replayed: bool


class Creation:
    """Turns what callers ask for into payments on disk, through the acceptor."""

    def __init__(
        self,
        *,
        clock: Clock,
        instruments: Instruments,
        acceptor: Acceptor,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._clock = clock
        self._instruments = instruments
        self._acceptor = acceptor
        self._random_bytes = random_bytes

    async def one(self, credential: Credential, wanted: Wanted) -> Accepted:
        """The payment, once it is on disk.

        Raises Problem, what Acceptor.accept raises, and errors of UNREACHABLE.
        """
        accounts = await self._accounts(credential.legal_entity_id, [wanted])
        [request] = self._requests(credential, [wanted], accounts)
        if isinstance(request, Exception):
            raise request
        return _accepted(request, await self._acceptor.accept(request))

    async def many(
        self, credential: Credential, wanted: Sequence[Wanted | Problem]
    ) -> list[Accepted | Exception]:
        """Each judged by itself, as if all had come one by one in this moment.

        What `one` would raise for it stands in its place; what is refused already stays as it is.
        Raises errors of UNREACHABLE, and has stored nothing then.
        """
        accounts = await self._accounts(credential.legal_entity_id, wanted)
        made = self._requests(credential, wanted, accounts)
        requests = [one for one in made if isinstance(one, Request)]
        outcomes = iter(await self._acceptor.accept_all(requests))
        return [_judged(one, next(outcomes)) if isinstance(one, Request) else one for one in made]

    async def _accounts(
        self, legal_entity_id: UUID, wanted: Sequence[Wanted | Problem]
    ) -> dict[str, Account | None]:
        """By gateway, the account that takes the instruments that are brought."""
        named = {
            one.body.instrument.gateway
            for one in wanted
            if isinstance(one, Wanted) and one.body.instrument is not None
        }
        return {name: await self._instruments.find(legal_entity_id, name) for name in named}

    def _requests(
        self,
        credential: Credential,
        wanted: Sequence[Wanted | Problem],
        accounts: Mapping[str, Account | None],
    ) -> list[Request | Exception]:
        """What is to be written, or why it is refused."""
        now, entity = self._clock.now(), credential.legal_entity_id
        ids = new_ids(microseconds_since_epoch(now), entity, len(wanted))
        salts = self._random_bytes(SALT_BYTES * len(wanted))
        made: list[Request | Exception] = []
        for place, one in enumerate(wanted):
            if isinstance(one, Problem):
                made.append(one)
                continue
            salt = salts[place * SALT_BYTES : (place + 1) * SALT_BYTES]
            try:
                made.append(self._request(credential, one, accounts, ids[place], salt, now))
            except Exception as refusal:  # noqa: BLE001 - one must not cost the others their answer
                made.append(refusal)
        return made

    def _request(
        self,
        credential: Credential,
        wanted: Wanted,
        accounts: Mapping[str, Account | None],
        payment_id: UUID,
        salt: bytes,
        now: datetime,
    ) -> Request:
        key, body = wanted.idempotency_key, wanted.body
        currency, not_after = bodies.check_create(body, now)
        entity, instrument, account = credential.legal_entity_id, body.instrument, None
        if instrument is not None:
            account = accounts[instrument.gateway]
        payment = Payment(
            legal_entity_id=entity,
            payment_id=payment_id,
            version=1,
            status="requires_payment_method" if account is None else "processing",
            amount_minor=body.amount,
            currency=currency,
            merchant_reference=body.merchant_reference,
            description=body.description,
            metadata=body.metadata,
            return_url=body.return_url,
            capture=body.capture,
            gateway=None if account is None else account.gateway,
            gateway_account_id=None if account is None else account.gateway_account_id,
            instrument_token=None if instrument is None else instrument.token,
            not_after=not_after,
            gateway_key_seed=gateway_key_seed(entity, key),
            digest_salt=salt,
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
            refusal=self._refusal(body, account, currency, too_late=not_after <= now),
        )

    def _refusal(
        self, body: bodies.CreatePayment, account: Account | None, currency: str, *, too_late: bool
    ) -> Problem | None:
        """Why it cannot be made now, though it may have been when it was first asked for."""
        if too_late:
            return bodies.not_after_invalid()
        if body.instrument is None:
            return None
        if account is None:
            return account_missing(body.instrument.gateway)
        try:
            self._instruments.check_amount(account.gateway, body.amount, currency)
        except Invalid as refusal:
            return refusal
        return None


def _judged(request: Request, outcome: Outcome | Exception) -> Accepted | Exception:
    """As `_accepted`, with what it raises as the result."""
    if isinstance(outcome, Created):
        return Accepted(outcome.payment, replayed=False)
    if isinstance(outcome, Exception):
        return outcome
    try:
        return _accepted(request, outcome)
    except Problem as problem:
        return problem


def _accepted(request: Request, outcome: Outcome) -> Accepted:
    """What was accepted. Raises Problem where nothing was."""
    if request.refusal is not None and isinstance(outcome, ReferenceTaken | TryAgain):
        raise request.refusal
    match outcome:
        case Created(payment):
            return Accepted(payment, replayed=False)
        case Replayed(payment):
            return Accepted(payment, replayed=True)
        case KeyReused():
            raise Invalid("idempotency_key_reused")
        case ReferenceTaken(holder):
            raise Conflict(
                "merchant_reference_taken",
                field="merchant_reference",
                payment_id=to_text("pay", holder),
            )
        case TryAgain():
            raise Unavailable("accept_contended")
    assert_never(outcome)
