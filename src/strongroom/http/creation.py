"""Creating payments, one or many: from what a body says to what is stored, and to an answer."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple, assert_never
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from strongroom.access.api_keys import Credential
from strongroom.clock import Clock, microseconds_since_epoch
from strongroom.customers.keeping import Wanted as WishToKeep
from strongroom.customers.register import NoSuchCustomer
from strongroom.errors import Conflict, Invalid, InvariantBroken, Missing, Problem, Unavailable
from strongroom.gateways.routing import Facts, Market, Plan
from strongroom.http import bodies
from strongroom.http.asking import customer_id_of, held_back
from strongroom.http.consents import agreed_of
from strongroom.http.instruments import Instruments
from strongroom.http.listing import CREATE_PATH
from strongroom.http.naming_tax import named_calculation, unusable
from strongroom.ids import new_ids, to_text
from strongroom.log.window import NO_WINDOW, NoWindow
from strongroom.payments.accept import Acceptor
from strongroom.payments.acceptance import (
    CalculationTaken,
    CannotTell,
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
from strongroom.payments.texts import NO_TEXTS, SALT_BYTES, Texts, TextStore, seal_texts
from strongroom.tax.calculations import Calculation
from strongroom.vault.errors import SubjectDestroyed
from strongroom.vault.keys import UNAVAILABLE, EntityKeys

Mac = Callable[[bytes], bytes]
ReadCalculations = Callable[[Mapping[UUID, UUID]], Awaitable[list[Calculation]]]
Want = Callable[[WishToKeep], Awaitable[None]]
"""Writes down that what pays is to be saved."""


class Wanted(Struct, frozen=True):
    """A payment that a caller asks for under a key that has been checked.

    `texts`: what the caller writes about it, None where that is nothing.
    """

    idempotency_key: str
    body: bodies.CreatePayment
    texts: Texts | None


def wanted_of(idempotency_key: str, body: bodies.CreatePayment) -> Wanted:
    """What a body asks for."""
    has_texts = body.description is not None or body.metadata
    texts = Texts(body.description, body.metadata) if has_texts else None
    return Wanted(idempotency_key, body, texts)


class Accepted(Struct, frozen=True):
    """A payment that is on disk; `replayed`: its key had made it before.

    `texts` are those of a new payment; a payment that was there before has its own.
    """

    payment: Payment
    texts: Texts | None

    @property
    def replayed(self) -> bool:
        """Whether its key had made it before."""
        return self.texts is None


class _Drawn(NamedTuple):
    """What was drawn for one payment: its id, and two salts, the second for its texts."""

    payment_id: UUID
    salts: bytes
    now: datetime


class _Known(NamedTuple):
    """What is at hand for all payments that one request asks for."""

    market: Market | None
    calculations: Mapping[UUID, Calculation]
    keys: EntityKeys | Exception | None
    held: Problem | None


class Creation:
    """Turns what callers ask for into payments on disk, through the acceptor."""

    def __init__(
        self,
        *,
        clock: Clock,
        instruments: Instruments,
        acceptor: Acceptor,
        texts: TextStore,
        random_bytes: Callable[[int], bytes],
        calculations: ReadCalculations,
        want: Want | None = None,
        window: NoWindow = NO_WINDOW,
    ) -> None:
        self._want, self._window = want, window
        self._clock = clock
        self._calculations = calculations
        self._texts = texts
        self._instruments = instruments
        self._acceptor = acceptor
        self._random_bytes = random_bytes

    async def one(self, credential: Credential, wanted: Wanted) -> Accepted:
        """The payment, once it is on disk.

        Raises Problem, what Acceptor.accept raises, and errors of UNREACHABLE.
        """
        market = await self._market(credential.legal_entity_id, [wanted])
        taxes = await self._named(credential.legal_entity_id, [wanted])
        keys: EntityKeys | Exception | None = None
        if wanted.texts is not None:
            keys = self._texts.keys_at_hand(credential.legal_entity_id)
            keys = keys or await self._keys(credential.legal_entity_id)
        held = await held_back(self._window, credential.legal_entity_id)
        [request] = self._requests(credential, [wanted], _Known(market, taxes, keys, held))
        request = await self._wished(wanted, request)
        if isinstance(request, Exception):
            raise request
        return _accepted(wanted, request, await self._acceptor.accept(request))

    async def many(
        self, credential: Credential, wanted: Sequence[Wanted | Problem]
    ) -> list[Accepted | Exception]:
        """Each judged by itself, as if all had come one by one in this moment.

        What `one` would raise for it stands in its place; what is refused already stays as it is.
        Raises errors of UNREACHABLE, and has stored nothing then.
        """
        market = await self._market(credential.legal_entity_id, wanted)
        taxes = await self._named(credential.legal_entity_id, wanted)
        keys: EntityKeys | Exception | None = None
        if any(isinstance(one, Wanted) and one.texts is not None for one in wanted):
            keys = await self._keys(credential.legal_entity_id)
        held = await held_back(self._window, credential.legal_entity_id)
        made = self._requests(credential, wanted, _Known(market, taxes, keys, held))
        made = [await self._wished(of, one) for of, one in zip(wanted, made, strict=True)]
        requests = [one for one in made if isinstance(one, Request)]
        outcomes = iter(await self._acceptor.accept_all(requests))
        return [
            _judged(of, one, next(outcomes)) if isinstance(one, Request) else one
            for of, one in zip(wanted, made, strict=True)
        ]

    async def _wished(
        self, wanted: Wanted | Problem, made: Request | Exception
    ) -> Request | Exception:
        """The request, with the wish to save what pays on disk before it; or with its refusal.

        A repeat writes a wish of a payment that is not made, which goes by itself.
        """
        save = wanted.body.save if isinstance(wanted, Wanted) else None
        if save is None or not isinstance(made, Request):
            return made
        if self._want is None:
            return InvariantBroken("nobody here can save what pays")
        payment, now = made.payment, made.payment.created_at
        try:
            agreed = None if save.consent is None else agreed_of(save.consent, now, "save.consent.")
            wish = WishToKeep(
                legal_entity_id=payment.legal_entity_id,
                payment_id=payment.payment_id,
                customer_id=customer_id_of(save.customer),
                agreed=agreed,
                at=now,
            )
            await self._want(wish)
        except NoSuchCustomer:
            return _refused(made, Missing("customer_not_found"))
        except SubjectDestroyed:
            return _refused(made, Conflict("customer_erased"))
        except Missing as unknown:
            return _refused(made, unknown)
        except (Invalid, *UNAVAILABLE) as error:
            return error
        return made

    async def _keys(self, legal_entity_id: UUID) -> EntityKeys | Exception | None:
        """What seals the texts that are brought, or why it cannot be had; None without need."""
        try:
            return await self._texts.keys(legal_entity_id)
        except UNAVAILABLE as error:
            return error if self._texts.seals else None

    async def _market(
        self, legal_entity_id: UUID, wanted: Sequence[Wanted | Problem]
    ) -> Market | None:
        """The accounts that may take what is asked for; None where nothing goes to any yet."""
        routed = any(isinstance(one, Wanted) and one.body.instrument is not None for one in wanted)
        if routed or self._instruments.has_rules:
            return await self._instruments.market(legal_entity_id)
        return None

    async def _named(
        self, legal_entity_id: UUID, wanted: Sequence[Wanted | Problem]
    ) -> Mapping[UUID, Calculation]:
        """By id, the tax calculations that are named and that there are."""
        texts = [one.body.tax_calculation for one in wanted if isinstance(one, Wanted)]
        ids = [one for text in texts if text and (one := named_calculation(text)) is not None]
        if not ids:
            return {}
        found = await self._calculations(dict.fromkeys(ids, legal_entity_id))
        return {one.calculation_id: one for one in found}

    def _requests(
        self, credential: Credential, wanted: Sequence[Wanted | Problem], known: _Known
    ) -> list[Request | Exception]:
        """What is to be written, or why it is refused."""
        now, entity = self._clock.now(), credential.legal_entity_id
        ids = new_ids(microseconds_since_epoch(now), entity, len(wanted))
        salts = self._random_bytes(2 * SALT_BYTES * len(wanted))
        made: list[Request | Exception] = []
        for place, one in enumerate(wanted):
            if isinstance(one, Problem):
                made.append(one)
                continue
            first = 2 * SALT_BYTES * place
            drawn = _Drawn(ids[place], salts[first : first + 2 * SALT_BYTES], now)
            try:
                made.append(self._request(credential, one, known, drawn))
            except Exception as refusal:  # noqa: BLE001 - one must not cost the others their answer
                made.append(refusal)
        return made

    def _request(
        self, credential: Credential, wanted: Wanted, known: _Known, drawn: "_Drawn"
    ) -> Request:
        key, body, now, sealed = wanted.idempotency_key, wanted.body, drawn.now, None
        payment_id, salts = drawn.payment_id, drawn.salts
        mac: Mac | None = None
        currency, not_after = bodies.check_create(body, now)
        entity, instrument = credential.legal_entity_id, body.instrument
        route, refusal = self._route(entity, body, currency, known.market)
        calculation_id, untaxed = _taxed_by(body, currency, known.calculations, now)
        keys = known.keys
        way = route.ways[0] if route is not None and instrument is not None else None
        if keys is not None and wanted.texts is not None:
            if isinstance(keys, Exception):
                raise keys
            mac = keys.mac
            if self._texts.seals:
                sealed = seal_texts(keys, payment_id, wanted.texts, salts[SALT_BYTES:])
        payment = Payment(
            legal_entity_id=entity,
            payment_id=payment_id,
            version=1,
            status="requires_payment_method" if way is None else "processing",
            amount_minor=body.amount,
            currency=currency,
            merchant_reference=body.merchant_reference,
            description=body.description if sealed is None else None,
            metadata=body.metadata if sealed is None else {},
            return_url=body.return_url,
            capture=body.capture,
            gateway=None if way is None else way.gateway,
            gateway_account_id=None if way is None else way.gateway_account_id,
            instrument_token=None if way is None else way.token,
            ways=() if route is None else route.ways[way is not None :],
            not_after=not_after,
            gateway_key_seed=gateway_key_seed(entity, key),
            digest_salt=salts[:SALT_BYTES],
            created_at=now,
            updated_at=now,
        )
        return Request(
            payment=payment,
            idempotency_key=key,
            fingerprint=_fingerprint(body, None if sealed is None else mac),
            other_fingerprint=_other_form(wanted, mac, is_sealed=sealed is not None),
            actor=credential.actor,
            run_at=not_after if way is None else now,
            row_digest=payment.row_digest(),
            payload=accepted_payload(
                payment, key, None if sealed is None else sealed.commitment, route, calculation_id
            ),
            texts=sealed,
            refusal=bodies.not_after_invalid()
            if not_after <= now
            else refusal or untaxed or known.held,
            calculation_id=calculation_id,
        )

    def _route(
        self, entity: UUID, body: bodies.CreatePayment, currency: str, market: Market | None
    ) -> tuple[Plan | None, Problem | None]:
        """Where it goes, or why not now, though it may have been when it was first asked for."""
        if market is None:
            return None, None
        facts = Facts(
            legal_entity_id=entity,
            amount_minor=body.amount,
            currency=currency,
            country=body.country,
            capture=body.capture,
            saves=body.save is not None,
        )
        try:
            return self._instruments.plan(market, facts, body.instrument), None
        except Invalid as refusal:
            return None, refusal


def _refused(made: Request, problem: Problem) -> Request:
    """For a new payment only: what its key made before is told all the same."""
    return made if made.refusal is not None else replace(made, refusal=problem)


def _taxed_by(
    body: bodies.CreatePayment,
    currency: str,
    calculations: Mapping[UUID, Calculation],
    now: datetime,
) -> tuple[UUID | None, Problem | None]:
    """What the payment is taxed by, and why it cannot be, if so."""
    if body.tax_calculation is None:
        return None, None
    named = named_calculation(body.tax_calculation)
    found = None if named is None else calculations.get(named)
    return named, unusable(found, body.amount, currency, now)


def _fingerprint(body: bodies.CreatePayment, mac: Mac | None) -> bytes:
    """What makes it the same request; by `mac` when its texts are sealed."""
    return fingerprint("POST", CREATE_PATH, bodies.stable_fields(body), mac)


def _other_form(wanted: Wanted, mac: Mac | None, *, is_sealed: bool) -> Callable[[], bytes]:
    """The form that processes of the other kind store: keyed, where this one does not seal."""
    if wanted.texts is not None and mac is None:
        return bytes  # its key is away
    return partial(_fingerprint, wanted.body, None if is_sealed else mac)


def _judged(
    wanted: Wanted | Problem, request: Request, outcome: Outcome | Exception
) -> Accepted | Exception:
    """As `_accepted`, with what it raises as the result."""
    if isinstance(wanted, Problem):
        return wanted
    if isinstance(outcome, Exception):
        return outcome
    try:
        return _accepted(wanted, request, outcome)
    except Problem as problem:
        return problem


def _accepted(wanted: Wanted, request: Request, outcome: Outcome) -> Accepted:
    """What was accepted. Raises Problem where nothing was."""
    if request.refusal is not None and isinstance(
        outcome, ReferenceTaken | CalculationTaken | TryAgain
    ):
        raise request.refusal
    match outcome:
        case Created(payment):
            return Accepted(payment, wanted.texts or NO_TEXTS)
        case Replayed(payment):
            return Accepted(payment, None)
        case KeyReused():
            raise Invalid("idempotency_key_reused")
        case ReferenceTaken(holder):
            raise Conflict(
                "merchant_reference_taken",
                field="merchant_reference",
                payment_id=to_text("pay", holder),
            )
        case CalculationTaken(holder):
            raise Invalid(
                "tax_calculation_taken",
                field="tax_calculation",
                payment_id=to_text("pay", holder),
            )
        case CannotTell():
            raise Unavailable("vault_unavailable")
        case TryAgain():
            raise Unavailable("accept_contended")
    assert_never(outcome)
