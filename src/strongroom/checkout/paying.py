"""Paying by a link: what the page asks for, as steps of payments that guard each other.

A try is begun by one request alone, whose key then confirms the link's payment or, after a decline,
makes another payment for the same order. So whatever is repeated, raced or cut off, the order is
charged at most once: its merchant_reference is held by one payment at a time.
"""

from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

import asyncpg
import structlog
from msgspec import Struct

from strongroom.access.api_keys import Credential
from strongroom.checkout import words
from strongroom.checkout.card_looks import CardLooks
from strongroom.checkout.choosing import Choosing, Chosen
from strongroom.checkout.client_tokens import ClientTokens
from strongroom.checkout.limits import (
    address_digest,
    check_address,
    count_try,
    counted_of,
    end_counting,
)
from strongroom.checkout.links import (
    SQL,
    Link,
    current_payment_id,
    digest_of,
    read_link,
    read_token,
)
from strongroom.checkout.standing import ENDS, Standing, standing_of
from strongroom.clock import Clock
from strongroom.database import reading, writing
from strongroom.directory import Entities
from strongroom.errors import Conflict, InvariantBroken
from strongroom.gateways.port import Account
from strongroom.http.asking import held_back
from strongroom.http.bodies import CreatePayment, Instrument, check_instrument
from strongroom.http.commands import done_or_raise
from strongroom.http.consents import SaveBody
from strongroom.http.creation import Creation, wanted_of
from strongroom.ids import tag_of, to_text
from strongroom.log.window import NoWindow
from strongroom.payments.commands import Commander, Order
from strongroom.payments.idempotency import fingerprint
from strongroom.payments.reads import read_payments
from strongroom.payments.states import Command, CustomerReturned, InstrumentBrought, Payment
from strongroom.payments.texts import Texts, TextStore
from strongroom.tax.rows import calculation_of_payment
from strongroom.vault.keys import Keyring

ACTOR: Final = "checkout"

log = structlog.get_logger()


class NoSuchLink(Exception):
    """There is no link of this address; nothing more is told."""


class OutOfStep(Exception):
    """The page asks for another try than the one that is next; it is to look again."""


class Shown(Struct, frozen=True, kw_only=True):
    """All that the page shows of a link; `key` is what starts the card fields, once it is there."""

    link: Link
    payment: Payment
    standing: Standing
    merchant: str
    texts: Texts
    chosen: Chosen | None
    key: str | None


class Till(Struct, frozen=True, kw_only=True):
    """The parts of the process that a payment passes; `back_url` by link."""

    choosing: Choosing
    client_tokens: ClientTokens
    keyring: Keyring
    creation: Creation
    commander: Commander
    texts: TextStore
    save_of: Callable[[Payment], Awaitable[SaveBody | None]]
    back_url: Callable[[UUID], str]
    window: NoWindow


class Paying:
    """What the page can do with links, for one process."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock, till: Till) -> None:
        self._pool, self._clock, self._entities = pool, clock, Entities(pool)
        self._choosing, self._client_tokens = till.choosing, till.client_tokens
        self._keyring, self._texts = till.keyring, till.texts
        self._card_looks = CardLooks(pool)
        self._creation, self._commander = till.creation, till.commander
        self._back_url, self._save_of = till.back_url, till.save_of
        self._window = till.window

    async def link(self, token: str) -> Link:
        """The link with this address. Raises NoSuchLink."""
        named = read_token(token)
        if named is None:
            raise NoSuchLink
        payment_id, secret = named
        link = await self.link_of(payment_id)
        # A link that does not exist takes as long as a wrong secret.
        good = link.opens_with(secret) if link is not None else not digest_of(secret)
        if link is None or not good:
            raise NoSuchLink
        return link

    async def link_of(self, payment_id: UUID) -> Link | None:
        """The link that was made for this payment; whoever asks has shown no secret yet."""
        entity = await self._entities.by_tag(tag_of(payment_id))
        return None if entity is None else await read_link(self._pool, entity, payment_id)

    async def standing(self, link: Link) -> Standing:
        """Where the link stands now; while a try may still begin by itself, it is under way."""
        standing = await self._standing(link)
        if standing.step == "open" and await self._card_looks.is_under_way(link, self._clock.now()):
            return Standing(step="processing", message=words.PROCESSING)
        return standing

    async def _standing(self, link: Link) -> Standing:
        return standing_of(link, await self._current(link), self._clock.now())

    async def show(self, link: Link) -> Shown:
        """What the page shows."""
        payment = await self._current(link)
        standing = standing_of(link, payment, self._clock.now())
        chosen = await self._choosing.of(payment) if standing.step not in ENDS else None
        async with reading(self._pool, [link.legal_entity_id]) as connection:
            merchant = await connection.fetchval(SQL["merchant"], link.legal_entity_id)
        return Shown(
            link=link,
            payment=payment,
            standing=standing,
            merchant=merchant,
            texts=await self._texts.of(payment),
            chosen=chosen,
            key=await self._key(link, standing, payment, chosen),
        )

    async def key(self, link: Link) -> str | None:
        """What starts the card fields; None while it is being made, and where none are shown."""
        payment = await self._current(link)
        standing = standing_of(link, payment, self._clock.now())
        if standing.step != "open":
            return None
        return await self._key(link, standing, payment, await self._choosing.of(payment))

    async def _key(
        self, link: Link, standing: Standing, payment: Payment, chosen: Chosen | None
    ) -> str | None:
        if chosen is None or chosen.page.key is not None:
            return None if chosen is None else chosen.page.key
        if standing.step != "open":
            return None
        now = self._clock.now()
        return await self._client_tokens.of(link, chosen.account, payment.currency, now)

    async def pay(
        self, link: Link, number: int, account_text: str, token: str, address: str
    ) -> Standing:
        """Begins try `number` with a token of the account, unless it was begun before.

        `account_text` is the account that the page showed the fields of: where the payment would go
        to another one by now, nothing is tried. Raises OutOfStep, TooManyTries, Invalid for what is
        no token, Unavailable while no money is moved, NotSeen where its card could not be learnt,
        and what Commander.carry_out and Creation.one raise.
        """
        payment, now = await self._current(link), self._clock.now()
        standing = standing_of(link, payment, now)
        if number <= link.tries:
            return standing  # sent twice: what the first has come to
        if standing.step != "open" or standing.number != number:
            raise OutOfStep
        if (held := await held_back(self._window, link.legal_entity_id)) is not None:
            raise held
        chosen = await self._choosing.of(payment)
        if chosen is None or to_text("gwa", chosen.account.gateway_account_id) != account_text:
            raise OutOfStep
        account = chosen.account
        instrument = Instrument(chosen.page.gateway, token, account_text)
        check_instrument(instrument)
        place = address_digest(await self._keyring.entity(link.legal_entity_id), address)
        async with reading(self._pool, [link.legal_entity_id]) as connection:
            await check_address(connection, link.legal_entity_id, place, now)
        # What may fail by itself comes first: a try that was begun is counted.
        is_first = payment.status == "requires_payment_method"
        body = None if is_first else await self._anew(link, payment, instrument)
        card = await self._card_looks.card_of(link, account, token, now)
        if not await self._begin(link, number, place, card):
            raise OutOfStep
        try:
            if body is None:
                await self._confirm(link, number, payment, account, token)
            else:
                await self._pay_anew(link, number, body)
        except Conflict as conflict:
            # Another try, or the merchant, was faster: the order is being paid by that one.
            log.info("checkout_try_overtaken", reason=conflict.code)
            standing = await self._standing(await self._again(link))
            if standing.step != "open":
                return standing
            return Standing(step="closed", message=words.TAKEN, return_url=link.return_url)
        return await self._standing(await self._again(link))

    async def _again(self, link: Link) -> Link:
        return await read_link(self._pool, link.legal_entity_id, link.payment_id) or link

    async def customer_is_back(self, link: Link) -> None:
        """The customer comes from the bank: the gateway is asked at once, once a try."""
        payment = await self._current(link)
        if payment.status == "requires_action":
            await self._order(link, payment, f"{link.tries}-back", lambda _: CustomerReturned())

    async def _current(self, link: Link) -> Payment:
        payment_id = await current_payment_id(self._pool, link)
        found = await read_payments(self._pool, {payment_id: link.legal_entity_id})
        if not found:
            raise InvariantBroken("a link is without its payment")
        if link.counts and found[0].status in ("authorized", "succeeded"):
            await end_counting(self._pool, link)
        return found[0]

    async def _begin(self, link: Link, number: int, place: bytes, card: bytes | None) -> bool:
        entity, now = link.legal_entity_id, self._clock.now()
        row = (entity, link.payment_id, number, now, place, card, link.secret_digest)
        async with writing(self._pool, [entity]) as connection:
            begun = await connection.fetchval(SQL["begin_try"], *row)
            if begun is not None:
                await count_try(connection, entity, counted_of(place, card, now), now)
        return begun is not None

    async def _confirm(
        self, link: Link, number: int, payment: Payment, account: Account, token: str
    ) -> None:
        back = self._back_url(link.payment_id)
        brought = InstrumentBrought(account.gateway, account.gateway_account_id, token, back)
        await self._order(link, payment, str(number), lambda _: brought)

    async def _order(
        self, link: Link, payment: Payment, of: str, wish: Callable[[Payment], Command]
    ) -> None:
        path = f"/pay/{to_text('pay', link.payment_id)}/{of}"
        order = Order(
            legal_entity_id=link.legal_entity_id,
            payment_id=payment.payment_id,
            idempotency_key=f"checkout-{to_text('pay', link.payment_id)}-{of}",
            operation="checkout.pay",
            fingerprint=fingerprint("POST", path, {}),
            actor=ACTOR,
            at=self._clock.now(),
            wish=wish,
        )
        done_or_raise(await self._commander.carry_out(order))

    async def _anew(self, link: Link, declined: Payment, instrument: Instrument) -> CreatePayment:
        """Another payment for the same order, with what its merchant wrote of the first."""
        texts = await self._texts.of(declined)
        taxed_by = await calculation_of_payment(
            self._pool, link.legal_entity_id, declined.payment_id
        )
        return CreatePayment(
            amount=declined.amount_minor,
            currency=declined.currency,
            merchant_reference=declined.merchant_reference,
            instrument=instrument,
            description=texts.description,
            metadata=texts.metadata,
            not_after=link.expires_at,
            return_url=self._back_url(link.payment_id),
            capture=declined.capture,
            tax_calculation=None if taxed_by is None else to_text("txc", taxed_by),
            save=await self._save_of(declined),
        )

    async def _pay_anew(self, link: Link, number: int, body: CreatePayment) -> None:
        nobodys_key = UUID(int=0)
        credential = Credential(link.legal_entity_id, nobodys_key, frozenset(), ACTOR)
        await self._creation.one(credential, wanted_of(link.key_of_try(number), body))
