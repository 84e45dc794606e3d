"""API keys: `sr_dev_<key id>_<secret>`; of one legal entity, stored as a digest, revocable.

The id in front carries the tag of the legal entity, so a key is found without a search. The secret
has 256 random bits, so a plain SHA-256 is a good digest of it. A process knows of a revocation
within CHECK_SECONDS, and refuses when it could not check for STALE_SECONDS.
"""

import asyncio
import hashlib
import hmac
import os
from base64 import urlsafe_b64encode
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import structlog
from msgspec import Struct

from strongroom.clock import monotonic_seconds
from strongroom.database import UNREACHABLE, Connection, rows_by_id, statements
from strongroom.errors import Unauthenticated, Unavailable, described
from strongroom.ids import MalformedId, from_text, tag_of, to_text
from strongroom.work.lasting import lasting, let_go

SQL: Final = statements("strongroom.access", "access.sql")
SCOPES: Final = frozenset(
    {"payouts:read", "log:read"}
    | {
        f"{noun}:{right}"
        for noun in ("payments", "disputes", "customers", "taxes")
        for right in ("read", "write")
    }
)
CHECK_SECONDS: Final = 2.0
STALE_SECONDS: Final = 5.0
KEPT_MAX: Final = 10_000
TOKEN_CHARACTERS_MAX: Final = 200
LOOKUPS_MAX: Final = 16
"""Look-ups of unknown keys under way at once: guessing cannot exhaust the database."""

log = structlog.get_logger()


class Credential(Struct, frozen=True):
    """A caller that has proved to hold a key: it acts for one legal entity, within its scopes."""

    legal_entity_id: UUID
    api_key_id: UUID
    scopes: frozenset[str]
    actor: str


class _Kept(Struct):
    secret_digest: bytes
    credential: Credential
    revoked: bool
    checked: float


def make_secret() -> str:
    """256 random bits as URL-safe text of 43 characters."""
    return urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode()


def write_token(mode: str, api_key_id: UUID, secret: str) -> str:
    """The text that a caller sends as its bearer token."""
    return f"sr_{mode}_{to_text('key', api_key_id)}_{secret}"


def digest_of(secret: str) -> bytes:
    """SHA-256 of the secret's text: 32 bytes."""
    return hashlib.sha256(secret.encode()).digest()


class ApiKeys:
    """Checks bearer tokens for one process."""

    def __init__(self, pool: asyncpg.Pool, mode: str) -> None:
        self._pool = pool
        self._prefix = f"sr_{mode}_"
        self._kept: dict[UUID, _Kept] = {}
        self._known: dict[bytes, UUID] = {}
        """Digest of a whole header that was found good → its key: a repeat is cheap to check."""
        self._tags: dict[int, UUID] = {}
        self._lookups = asyncio.Semaphore(LOOKUPS_MAX)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts the check for revocations in the running loop."""
        self._task = lasting(self._check_forever())

    async def close(self) -> None:
        """Stops it."""
        await let_go(self._task)

    async def authenticate(self, authorization: str | None) -> Credential:
        """The credential behind an Authorization header.

        Raises Unauthenticated, and Unavailable when it cannot be checked.
        """
        if authorization is None or not authorization.startswith("Bearer "):
            raise _refused()
        digest = hashlib.sha256(authorization.encode()).digest()
        known = self._known.get(digest)
        if known is not None:
            kept = self._kept.get(known)
            if kept and not kept.revoked and monotonic_seconds() - kept.checked <= STALE_SECONDS:
                return kept.credential
        token = authorization[7:].strip()
        if len(token) > TOKEN_CHARACTERS_MAX or not token.startswith(self._prefix):
            raise _refused()
        key_text = token[len(self._prefix) : len(self._prefix) + 30]
        secret = token[len(self._prefix) + 31 :]
        try:
            api_key_id = from_text("key", key_text)
        except MalformedId:
            raise _refused() from None
        kept = self._kept.get(api_key_id)
        if kept is None or monotonic_seconds() - kept.checked > STALE_SECONDS:
            kept = await self._load(api_key_id)
        if not hmac.compare_digest(kept.secret_digest, digest_of(secret)) or kept.revoked:
            raise _refused()
        if len(self._known) >= KEPT_MAX:
            self._known.clear()
        self._known[digest] = api_key_id
        return kept.credential

    async def _load(self, api_key_id: UUID) -> _Kept:
        try:
            async with self._lookups:
                entity = await self._entity_of(tag_of(api_key_id))
                found = await self._read({api_key_id: entity})
        except UNREACHABLE as error:
            raise Unavailable("key_not_checked") from error
        kept = found.get(api_key_id)
        if kept is None:
            self._kept.pop(api_key_id, None)
            raise _refused()
        if len(self._kept) >= KEPT_MAX:
            self._kept.clear()
        self._kept[api_key_id] = kept
        return kept

    async def _entity_of(self, tag: int) -> UUID:
        entity = self._tags.get(tag)
        if entity is None:
            async with self._pool.acquire() as connection:
                entity = await connection.fetchval(SQL["entity_by_tag"], tag)
            if entity is None:
                raise _refused()
            self._tags[tag] = entity
        return entity

    async def _read(self, wanted: dict[UUID, UUID]) -> dict[UUID, _Kept]:
        now = monotonic_seconds()
        rows = await rows_by_id(self._pool, SQL["keys_by_id"], wanted)
        return {
            row["api_key_id"]: _Kept(
                secret_digest=row["secret_digest"],
                credential=Credential(
                    row["legal_entity_id"],
                    row["api_key_id"],
                    frozenset(row["scopes"]),
                    to_text("key", row["api_key_id"]),
                ),
                revoked=row["revoked_at"] is not None,
                checked=now,
            )
            for row in rows
        }

    async def _check_forever(self) -> None:
        """One read for all kept keys, every CHECK_SECONDS."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            wanted = {key: kept.credential.legal_entity_id for key, kept in self._kept.items()}
            if not wanted:
                continue
            try:
                found = await self._read(wanted)
            except (asyncpg.PostgresError, *UNREACHABLE) as error:
                # Keys that stay unchecked are refused after STALE_SECONDS.
                log.warning("keys_not_checked", error=type(error).__name__)
                continue
            except Exception as fault:  # noqa: BLE001 - what gets stale is looked up by itself
                log.error("keys_not_checked", **described(fault))
                continue
            for key in wanted:
                if key in found:
                    self._kept[key] = found[key]
                else:
                    self._kept.pop(key, None)


def _refused() -> Unauthenticated:
    return Unauthenticated("api_key_invalid")


async def add_key(
    connection: Connection,
    *,
    mode: str,
    legal_entity_id: UUID,
    api_key_id: UUID,
    name: str,
    scopes: list[str],
    at: datetime,
) -> str:
    """Stores a new key and returns its token, which cannot be had again.

    `connection` is the owner's, in a transaction that sees the legal entity.
    """
    secret = make_secret()
    await connection.execute(
        SQL["add_key"], legal_entity_id, api_key_id, digest_of(secret), name, scopes, at
    )
    return write_token(mode, api_key_id, secret)
