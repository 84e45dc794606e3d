"""What callers ask of payment methods: save one, list, show, detach."""

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
import structlog
from msgspec import Struct

from strongroom.clock import microseconds_since_epoch
from strongroom.customers.consents import (
    Agreed,
    Consent,
    add_consent,
    newest_consents,
    sealed_consent,
)
from strongroom.customers.register import (
    HIGHEST,
    KeyReused,
    NoSuchCustomer,
    Wish,
    claim,
    holder,
)
from strongroom.customers.register import SQL as CUSTOMERS_SQL
from strongroom.customers.rows import SQL, by_id, methods_in, read_methods, tell
from strongroom.customers.saving import LABEL, Card, MethodStatus, Saving
from strongroom.database import reading, writing
from strongroom.gateways.port import Account
from strongroom.ids import bucket_of, new_id
from strongroom.payments.ways import ChargeToken
from strongroom.vault.errors import KeyMissing, Unreadable
from strongroom.vault.keys import EntityKeys, Keyring
from strongroom.vault.subjects import Subjects

ACTION_TIME: Final = timedelta(hours=1)
"""In which the customer has to do what a gateway asks for."""
DETACHABLE: Final[frozenset[MethodStatus]] = frozenset({"ready"})
GONE: Final[frozenset[MethodStatus]] = frozenset({"failed", "detaching", "detached"})

log = structlog.get_logger()

_decode: Final = msgspec.json.Decoder(Card).decode


class NoSuchMethod(Exception):
    """The legal entity has no such payment method."""


class NotReady(Exception):
    """The payment method is still being saved."""


class NoConsent(Exception):
    """Its customer has not agreed to be charged while away."""


class Shown(Struct, frozen=True):
    """A payment method, its card and its consent; None where there is none to be shown."""

    saving: Saving
    card: Card | None
    consent: Consent | None = None


class Methods:
    """The payment methods of all legal entities, for one process.

    All methods raise errors of UNAVAILABLE of vault.keys, and those of UNREACHABLE.
    """

    def __init__(self, pool: asyncpg.Pool, keyring: Keyring, subjects: Subjects) -> None:
        self._pool, self._keyring, self._subjects = pool, keyring, subjects

    async def save(
        self,
        wish: Wish,
        customer_id: UUID,
        account: Account | None,
        offered: str,
        return_url: str | None,
        agreed: Agreed | None = None,
    ) -> tuple[Saving, bool]:
        """The method that will be saved, and whether the wish's key had made it before.

        `account` is None where there is none to save it at, which a repeat does not need. Raises
        KeyReused, NoSuchCustomer, SubjectDestroyed and LookupError where it needs an account.
        """
        entity = wish.legal_entity_id
        keys = await self._keyring.entity(entity)
        before = await self._replayed(wish, keys, customer_id)
        if before is not None:
            return before, True
        await self._check_customer(entity, customer_id)
        if account is None:
            raise LookupError
        saving = Saving(
            legal_entity_id=entity,
            payment_method_id=new_id(microseconds_since_epoch(wish.at), entity),
            customer_id=customer_id,
            version=1,
            status="processing",
            return_url=return_url,
            not_after=wish.at + ACTION_TIME,
            digest_salt=os.urandom(16),
            created_at=wish.at,
            updated_at=wish.at,
            gateway=account.gateway,
            gateway_account_id=account.gateway_account_id,
            offered=offered,
        )
        consent = await self._consent(saving, agreed, wish)
        async with writing(self._pool, [entity]) as connection:
            claimed = await claim(connection, wish, keys, saving.payment_method_id)
            if claimed:
                key = (entity, saving.payment_method_id)
                await connection.execute(
                    SQL["add_method"],
                    *key,
                    customer_id,
                    return_url,
                    saving.not_after,
                    saving.digest_salt,
                    wish.at,
                )
                await connection.execute(
                    SQL["add_method_token"],
                    *key,
                    account.gateway_account_id,
                    account.gateway,
                    offered,
                )
                await connection.execute(SQL["add_method_job"], *key, bucket_of(entity), wish.at)
                more: dict[str, Any] = {"idempotency_key": wish.idempotency_key}
                if consent is not None:
                    await add_consent(connection, *key, consent)
                    more["consent"] = consent.told()
                await tell(connection, saving, "payment_method.created", wish.actor, **more)
        if claimed:
            return saving, False
        return await self._surely_replayed(wish, keys, customer_id), True

    async def detach(self, wish: Wish, payment_method_id: UUID) -> tuple[Saving, bool]:
        """The method, on its way to be let go; one that is gone already is left as it is.

        Raises KeyReused, NoSuchMethod and NotReady.
        """
        entity = wish.legal_entity_id
        keys = await self._keyring.entity(entity)
        before = await self._replayed(wish, keys, payment_method_id)
        if before is not None:
            return before, True
        async with writing(self._pool, [entity]) as connection:
            key = (entity, payment_method_id)
            if await connection.fetchval(SQL["lock_method"], *key) is None:
                raise NoSuchMethod
            [saving] = await methods_in(connection, {payment_method_id: entity})
            if saving.status not in DETACHABLE | GONE:
                raise NotReady
            claimed = await claim(connection, wish, keys, payment_method_id)
            if claimed and saving.status in DETACHABLE:
                saving = saving.changed(wish.at, status="detaching", status_reason=None)
                await connection.execute(
                    SQL["ask_of_method"], *key, saving.version, saving.status, wish.at
                )
                await connection.execute(SQL["add_method_job"], *key, bucket_of(entity), wish.at)
                name = wish.idempotency_key
                kind = "payment_method.detaching"
                await tell(connection, saving, kind, wish.actor, idempotency_key=name)
        if claimed:
            return saving, False
        return await self._surely_replayed(wish, keys, payment_method_id), True

    async def agree(
        self, wish: Wish, payment_method_id: UUID, agreed: Agreed
    ) -> tuple[Saving, bool]:
        """The method, with what its customer has agreed to since it was saved.

        Raises KeyReused, NoSuchMethod, NotReady where it is let go, and SubjectDestroyed.
        """
        entity = wish.legal_entity_id
        keys = await self._keyring.entity(entity)
        before = await self._replayed(wish, keys, payment_method_id)
        if before is not None:
            return before, True
        saving = await self.get(entity, payment_method_id)
        consent = await self._consent(saving, agreed, wish)
        async with writing(self._pool, [entity]) as connection:
            key = (entity, payment_method_id)
            await connection.execute(SQL["lock_method"], *key)
            [saving] = await methods_in(connection, {payment_method_id: entity})
            if saving.status in GONE:
                raise NotReady
            claimed = await claim(connection, wish, keys, payment_method_id)
            if claimed and consent is not None:
                saving = saving.changed(wish.at)
                await connection.execute(SQL["agree_of_method"], *key, saving.version, wish.at)
                await add_consent(connection, *key, consent)
                name, told = wish.idempotency_key, consent.told()
                kind = "payment_method.agreed"
                await tell(connection, saving, kind, wish.actor, idempotency_key=name, consent=told)
        if claimed:
            return saving, False
        return await self._surely_replayed(wish, keys, payment_method_id), True

    async def _consent(self, saving: Saving, agreed: Agreed | None, wish: Wish) -> Consent | None:
        if agreed is None:
            return None
        entity, method = saving.legal_entity_id, saving.payment_method_id
        return await sealed_consent(
            self._subjects, entity, saving.customer_id, method, agreed, wish.at
        )

    async def get(self, legal_entity_id: UUID, payment_method_id: UUID) -> Saving:
        """The payment method. Raises NoSuchMethod."""
        found = await read_methods(self._pool, {payment_method_id: legal_entity_id})
        if not found:
            raise NoSuchMethod
        return found[0]

    async def payable(
        self, legal_entity_id: UUID, payment_method_id: UUID, *, off_session: bool
    ) -> tuple[Saving, str]:
        """The method, and the token that a payment by it carries.

        Raises NoSuchMethod, NotReady where it is not saved (any more), NoConsent where the customer
        is away and has not agreed to that, and SubjectDestroyed.
        """
        saving = await self.get(legal_entity_id, payment_method_id)
        async with reading(self._pool, [legal_entity_id]) as connection:
            row = await connection.fetchrow(
                SQL["gateway_customer"],
                legal_entity_id,
                saving.customer_id,
                saving.gateway_account_id,
            )
        known = None if row is None else row["gateway_object_id"]
        if saving.status != "ready" or saving.token is None or known is None:
            raise NotReady
        await self._subjects.of(legal_entity_id, saving.customer_id)
        if not off_session:
            return saving, ChargeToken(known, saving.token).text()
        consents = await newest_consents(self._pool, {payment_method_id: legal_entity_id})
        if payment_method_id not in consents:
            raise NoConsent
        away = consents[payment_method_id].purpose
        return saving, ChargeToken(known, saving.token, away).text()

    async def page(
        self, legal_entity_id: UUID, customer_id: UUID, below: UUID | None, limit: int
    ) -> tuple[list[Saving], UUID | None]:
        """A page of a customer's methods, newest first, and where the next one begins.

        Raises NoSuchCustomer.
        """
        async with reading(self._pool, [legal_entity_id]) as connection:
            there = await connection.fetchrow(
                CUSTOMERS_SQL["customer"], legal_entity_id, customer_id
            )
            if there is None:
                raise NoSuchCustomer
            rows = await connection.fetch(
                SQL["list_methods"], legal_entity_id, customer_id, below or HIGHEST, limit + 1
            )
            ids = [row["payment_method_id"] for row in rows[:limit]]
            found = by_id(await methods_in(connection, dict.fromkeys(ids, legal_entity_id)))
        return [found[one] for one in ids], ids[-1] if len(rows) > limit else None

    async def shown(self, savings: Sequence[Saving]) -> list[Shown]:
        """With their cards and consents. What cannot be opened, as the customer was erased, is not
        shown.
        """
        wanted = {saving.payment_method_id: saving.legal_entity_id for saving in savings}
        consents = await newest_consents(self._pool, wanted)
        sealed = [saving for saving in savings if saving.sealed is not None]
        if not sealed:
            return [Shown(one, None, consents.get(one.payment_method_id)) for one in savings]
        customers = [saving.customer_id for saving in sealed]
        keys = (await self._subjects.of_all(sealed[0].legal_entity_id, customers)).keys
        shown = []
        for saving in savings:
            card, key = None, keys.get(saving.customer_id)
            if key is not None and saving.sealed is not None:
                try:
                    row = saving.payment_method_id.bytes
                    card = _decode(key.open(LABEL, row, saving.sealed))
                except (Unreadable, KeyMissing, msgspec.MsgspecError) as error:
                    ids = [saving.payment_method_id]
                    log.error("card_unreadable", error=type(error).__name__, ids=ids)
            shown.append(Shown(saving, card, consents.get(saving.payment_method_id)))
        return shown

    async def _check_customer(self, legal_entity_id: UUID, customer_id: UUID) -> None:
        async with reading(self._pool, [legal_entity_id]) as connection:
            row = await connection.fetchrow(CUSTOMERS_SQL["customer"], legal_entity_id, customer_id)
        if row is None:
            raise NoSuchCustomer
        await self._subjects.of(legal_entity_id, customer_id)

    async def _replayed(self, wish: Wish, keys: EntityKeys, of: UUID) -> Saving | None:
        """What the wish's key made before; `of`: the customer, or the method that it changes."""
        held = await holder(self._pool, wish, keys)
        if held is None:
            return None
        try:
            saving = await self.get(wish.legal_entity_id, held.owner_id)
        except NoSuchMethod:
            raise KeyReused from None
        if not held.is_surely_it and of not in (saving.customer_id, saving.payment_method_id):
            raise KeyReused
        return saving

    async def _surely_replayed(self, wish: Wish, keys: EntityKeys, of: UUID) -> Saving:
        saving = await self._replayed(wish, keys, of)
        if saving is None:
            raise asyncpg.SerializationError("a key that was held is free")
        return saving
