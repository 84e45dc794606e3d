"""A prepared database for tests of what lies between the processes and PostgreSQL."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from msgspec import Struct

from strongroom.access.api_keys import SCOPES, add_key
from strongroom.clock import microseconds_since_epoch
from strongroom.config import Home
from strongroom.directory import create_entity
from strongroom.ids import bucket_of, new_id
from strongroom.setup import initialise

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
NEVER = datetime(2999, 1, 1, tzinfo=UTC)

NEW_ACCOUNT = """
INSERT INTO gateway_accounts (legal_entity_id, gateway_account_id, gateway, environment, created_at)
VALUES ($1, $2, 'stripe', 'stand_in', $3)
"""
NEW_PAYMENT = """
INSERT INTO payments (legal_entity_id, payment_id, version, status, amount_minor, captured_minor,
  currency, merchant_reference, metadata, attempt_no, not_after, gateway_key_seed, digest_salt,
  created_at, updated_at)
VALUES ($1, $2, 1, 'processing', 1, 0, 'EUR', $3, '{}', 1, $4, $5, $5, $4, $4)
"""
NEW_KEY = "INSERT INTO idempotency_keys VALUES ($1, $2, 'payments.create', $3, $4, $5)"
NEW_REFERENCE = "INSERT INTO merchant_references VALUES ($1, $2, $3)"
NEW_ATTEMPT = """
INSERT INTO attempts (legal_entity_id, payment_id, attempt_no, kind, state, gateway,
  gateway_account_id, gateway_key, staged, amount_minor, currency, parameters, opened_at)
VALUES ($1, $2, 1, 'sale', 'open', 'stripe', $3, 'k', true, 1, 'EUR', '{}', $4)
"""
NEW_JOB = "INSERT INTO jobs (legal_entity_id, payment_id, bucket, run_at) VALUES ($1, $2, $3, $4)"
NEW_REFUND = """
INSERT INTO refunds (legal_entity_id, refund_id, payment_id, status, amount_minor, currency,
  metadata, gateway, gateway_account_id, gateway_key, digest_salt, created_at, updated_at)
VALUES ($1, $2, $2, 'processing', 1, 'EUR', '{}', 'stripe', $3, 'k', $4, $5, $5)
"""
NEW_REFUND_JOB = """
INSERT INTO refund_jobs (legal_entity_id, refund_id, bucket, run_at) VALUES ($1, $2, $3, $4)
"""
NEW_EVENT = "INSERT INTO events VALUES ($1, $2, 1, 'payment.accepted', 'test', $3, $4, '')"


class Entity(Struct, frozen=True):
    """A legal entity with one payment and one API key."""

    legal_entity_id: UUID
    payment_id: UUID
    api_key_id: UUID
    token: str


class Deployment(Struct, frozen=True):
    """A prepared database, two entities, and the logins' URLs."""

    home: Home
    owner_url: str
    ours: Entity
    theirs: Entity

    def url(self, login: str) -> str:
        return self.home.secret(f"database_{login}_url")


@pytest.fixture
async def deployment(migrated_url: str, tmp_path: Path) -> Deployment:
    home = Home(tmp_path / "home")
    await initialise(home, migrated_url, "dev", "strongroom.test/1")
    connection = await asyncpg.connect(
        migrated_url, server_settings={"search_path": "strongroom, directory"}
    )
    try:
        entities = [await _entity(connection, name) for name in ("Ours Ltd", "Theirs Ltd")]
    finally:
        await connection.close()
    return Deployment(home, migrated_url, *entities)


async def _entity(connection: asyncpg.Connection, name: str) -> Entity:
    entity = await create_entity(connection, name, NOW)
    moment = microseconds_since_epoch(NOW)
    payment, key, account = (new_id(moment, entity) for _ in range(3))
    token = await add_key(
        connection, mode="dev", legal_entity_id=entity, api_key_id=key, name="all",
        scopes=sorted(SCOPES), at=NOW,
    )  # fmt: skip
    text, digest = f"order-{name}", b"x" * 32
    for statement, *values in (
        (NEW_ACCOUNT, account, NOW),
        (NEW_PAYMENT, payment, text, NOW, digest[:16]),
        (NEW_KEY, text, digest + b"x", payment, NOW),
        (NEW_REFERENCE, text, payment),
        (NEW_ATTEMPT, payment, account, NOW),
        (NEW_JOB, payment, bucket_of(entity), NEVER),
        (NEW_EVENT, payment, NOW, digest),
        (NEW_REFUND, payment, account, digest[:16], NOW),
        (NEW_REFUND_JOB, payment, bucket_of(entity), NEVER),
    ):
        await connection.execute(statement, entity, *values)
    return Entity(entity, payment, key, token)
