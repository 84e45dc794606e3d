"""Links: who has one may pay its payment. One a payment, unguessable, until the payment's end.

`https://checkout.example/pay/PAYMENT.SECRET`: the payment's id leads to its legal entity without a
search; the secret has 256 random bits, of which only a SHA-256 is kept.
"""

import hashlib
import hmac
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
from msgspec import Struct

from strongroom.access.api_keys import make_secret
from strongroom.clock import microseconds_since_epoch
from strongroom.database import reading, statements, writing
from strongroom.ids import MalformedId, first_at, from_text, to_text
from strongroom.payments.states import Payment

SQL: Final = statements("strongroom.checkout", "links.sql")
TRIES_MAX: Final = 5
"""Cards that may be tried by one link: a customer has a few, a thief has a list."""
LINKS_KEPT: Final = timedelta(days=60)
"""From the making of the payment; a link ends within a week of it."""
SECRET_CHARACTERS: Final = 43


class Link(Struct, frozen=True, kw_only=True):
    """The link of a payment, and how many of its tries were begun."""

    legal_entity_id: UUID
    payment_id: UUID
    secret_digest: bytes
    return_url: str | None
    tries: int
    expires_at: datetime
    revoked_at: datetime | None
    counts: bool = False
    """Whether its last try still counts against the address that it came from."""

    def opens_with(self, secret: str) -> bool:
        """Whether it is this link's secret, told in constant time."""
        return hmac.compare_digest(self.secret_digest, digest_of(secret))

    def is_open(self, now: datetime) -> bool:
        """Whether a try can still begin."""
        return self.revoked_at is None and now < self.expires_at and self.tries < TRIES_MAX

    def key_of_try(self, number: int) -> str:
        """The idempotency key of a try: it makes, or confirms, one payment, whoever repeats it."""
        return f"checkout-{to_text('pay', self.payment_id)}-{number}"


def digest_of(secret: str) -> bytes:
    """SHA-256 of the secret's text: 32 bytes."""
    return hashlib.sha256(secret.encode()).digest()


def write_token(payment_id: UUID, secret: str) -> str:
    """The last part of a link's address."""
    return f"{to_text('pay', payment_id)}.{secret}"


def link_url(checkout_url: str, payment_id: UUID, secret: str) -> str:
    """The address of a link, as a merchant is given it."""
    return f"{checkout_url}/pay/{write_token(payment_id, secret)}"


def read_token(text: str) -> tuple[UUID, str] | None:
    """Payment and secret of a link's address; None for what is no such thing."""
    payment_text, _, secret = text.partition(".")
    if len(secret) != SECRET_CHARACTERS or not secret.isascii():
        return None
    try:
        return from_text("pay", payment_text), secret
    except MalformedId:
        return None


async def make_link(pool: asyncpg.Pool, payment: Payment, now: datetime) -> tuple[Link, str]:
    """A new link to the payment, and its secret, which cannot be had again.

    A link that the payment had before works no more; its tries still count.
    """
    entity, secret = payment.legal_entity_id, make_secret()
    forgotten = first_at(microseconds_since_epoch(now - LINKS_KEPT))
    async with writing(pool, [entity]) as connection:
        await connection.execute(SQL["forget_links"], entity, forgotten)
        await connection.execute(SQL["forget_client_tokens"], entity, forgotten)
        await connection.execute(SQL["forget_card_looks"], entity, forgotten)
        tries = await connection.fetchval(
            SQL["make_link"],
            entity,
            payment.payment_id,
            digest_of(secret),
            payment.return_url,
            payment.not_after,
            now,
        )
    link = Link(
        legal_entity_id=entity,
        payment_id=payment.payment_id,
        secret_digest=digest_of(secret),
        return_url=payment.return_url,
        tries=tries,
        expires_at=payment.not_after,
        revoked_at=None,
    )
    return link, secret


async def read_link(pool: asyncpg.Pool, legal_entity_id: UUID, payment_id: UUID) -> Link | None:
    """The link that was made for a payment, whatever has become of it."""
    async with reading(pool, [legal_entity_id]) as connection:
        row = await connection.fetchrow(SQL["link_of_payment"], legal_entity_id, payment_id)
    if row is None:
        return None
    return Link(
        legal_entity_id=legal_entity_id,
        payment_id=payment_id,
        secret_digest=row["secret_digest"],
        return_url=row["return_url"],
        tries=row["tries"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        counts=row["counted_for"] is not None,
    )


async def revoke_link(
    pool: asyncpg.Pool, legal_entity_id: UUID, payment_id: UUID, now: datetime
) -> bool:
    """No try begins by the link any more; False where there is none."""
    async with writing(pool, [legal_entity_id]) as connection:
        found = await connection.fetchval(SQL["revoke_link"], legal_entity_id, payment_id, now)
    return found is not None


async def current_payment_id(pool: asyncpg.Pool, link: Link) -> UUID:
    """The payment of the last try that made one, else the one that the link was made for."""
    keys = [link.key_of_try(number) for number in range(1, link.tries + 1)]
    if not keys:
        return link.payment_id
    async with reading(pool, [link.legal_entity_id]) as connection:
        rows = await connection.fetch(SQL["payments_of_tries"], link.legal_entity_id, keys)
    found = {row["idempotency_key"]: row["payment_id"] for row in rows}
    for key in reversed(keys):
        if key in found:
            payment_id: UUID = found[key]
            return payment_id
    return link.payment_id
