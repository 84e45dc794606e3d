"""Who has stolen the login of a process cannot stop others with what it may write."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from strongroom.alarms.raising import alarm, clear_alarm, raise_alarms
from strongroom.customers.erasing import ERASED, erase
from strongroom.database import begin
from strongroom.webhooks.endpoint_rows import add_endpoint, lock_endpoint, set_state
from strongroom.webhooks.endpoints import Endpoint
from tests.integration.conftest import NOW, Deployment
from tests.integration.test_access import EVENTS_AND_OWNERS, LOGINS, event_statement

NEW_CUSTOMER = """
INSERT INTO customers (legal_entity_id, customer_id, version, sealed, digest_salt, created_at,
  updated_at) VALUES ($1, $2, 1, 'x', substr(sha256(''), 1, 16), $3, $3)
"""
LAST = 10**9 - 1
"""The last version that a login of a process can write."""


@pytest.fixture
async def owner(deployment: Deployment) -> AsyncIterator[asyncpg.Connection]:
    connection = await connected(deployment.owner_url)
    yield connection
    await connection.close()


async def connected(url: str) -> asyncpg.Connection:
    return await asyncpg.connect(url, server_settings={"search_path": "strongroom, directory"})


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize(("events", "owner_id"), EVENTS_AND_OWNERS)
async def test_no_event_stops_the_log_or_an_operator(
    deployment: Deployment, login: str, events: str, owner_id: str
) -> None:
    """All entities' events are placed by one statement, and operators' come after the last."""
    ours, connection = deployment.ours, await connected(deployment.url(login))
    try:
        for at, version, actor in (
            ("infinity", 9, login),
            ("-infinity", 9, login),
            ("20000-01-01", 9, login),
            ("0001-01-01 BC", 9, login),
            ("2026-12-01", 2**31 - 1, login),
            ("2026-12-01", LAST + 1, login),
            ("2026-12-01", 9, "Operator:alice"),
            ("2026-12-01", LAST, login),
        ):
            await begin(connection, [ours.legal_entity_id])
            written = connection.execute(
                event_statement(events, owner_id),
                ours.legal_entity_id, ours.payment_id, version, actor, at,
            )  # fmt: skip
            if version == LAST:
                assert await written == "INSERT 0 1"
            else:
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level"):
                    await written
            await connection.execute("ROLLBACK")
    finally:
        await connection.close()


async def test_a_customer_keeps_a_version_for_its_erasure(
    deployment: Deployment, owner: asyncpg.Connection
) -> None:
    ours, api = deployment.ours, await connected(deployment.url("api"))
    of = ours.legal_entity_id, ours.payment_id
    for version in (2**31 - 1, LAST + 1):
        await begin(api, [ours.legal_entity_id])
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level"):
            await api.execute(NEW_CUSTOMER.replace("$2, 1", f"$2, {version}"), *of, NOW)
        await api.execute("ROLLBACK")
    await owner.execute(NEW_CUSTOMER, *of, NOW)
    try:
        for version in (LAST + 1, LAST):
            await begin(api, [ours.legal_entity_id])
            changed = api.execute("UPDATE customers SET version = $1", version)
            if version == LAST:
                assert await changed == "UPDATE 1"
            else:
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level"):
                    await changed
            await api.execute("ROLLBACK")
    finally:
        await api.close()


MADE_UP = {events: event_statement(events, owner_id) for events, owner_id in EVENTS_AND_OWNERS}
AS_API = (2, "api", "2026-12-01")


async def test_a_customer_is_erased_whatever_events_somebody_made_up_for_it(
    deployment: Deployment, owner: asyncpg.Connection
) -> None:
    """Its key is destroyed before: what is left of it would stay for ever."""
    of = deployment.ours.legal_entity_id, deployment.ours.payment_id
    await owner.execute(NEW_CUSTOMER, *of, NOW)
    await owner.execute(MADE_UP["customer_events"], *of, *AS_API)
    assert await erase(owner, *of, NOW, "operator:ada", {})
    assert not await erase(owner, *of, NOW, "operator:ada", {})
    assert await owner.fetchval("SELECT version FROM customers") == 3
    kinds = await owner.fetch("SELECT kind FROM customer_events ORDER BY version")
    assert [row["kind"] for row in kinds] == ["x", ERASED]


async def test_an_endpoint_is_disabled_whatever_events_somebody_made_up_for_it(
    deployment: Deployment, owner: asyncpg.Connection
) -> None:
    entity, endpoint_id = deployment.ours.legal_entity_id, deployment.ours.api_key_id
    endpoint = Endpoint(
        legal_entity_id=entity, endpoint_id=endpoint_id, version=1, host="shop.example", kinds=(),
        state="enabled", state_reason=None, created_at=NOW,
    )  # fmt: skip
    await begin(owner, [entity])
    await add_endpoint(owner, endpoint, None, "operator:ada")
    await owner.execute(MADE_UP["events"], entity, endpoint_id, *AS_API)
    after = await set_state(owner, endpoint, "disabled", "x", actor="operator:ada", at=NOW)
    assert (after.version, after.state) == (3, "disabled")
    assert await lock_endpoint(owner, entity, endpoint_id) == after
    await owner.execute("ROLLBACK")


async def test_an_alarm_is_cleared_whatever_events_somebody_made_up_for_it(
    deployment: Deployment, owner: asyncpg.Connection
) -> None:
    entity = deployment.ours.legal_entity_id
    account = await owner.fetchval(
        "SELECT gateway_account_id FROM gateway_accounts WHERE legal_entity_id = $1", entity
    )
    raised = alarm(
        "webhook_mismatched", legal_entity_id=entity, gateway_account_id=account, subject="evt_1",
        reason="other_object", at=NOW,
    )  # fmt: skip
    await begin(owner, [entity])
    await raise_alarms(owner, [raised], "worker")
    await owner.execute(MADE_UP["events"], entity, raised.alarm_id, *AS_API)
    cleared = await clear_alarm(
        owner, entity, raised.alarm_id, by="operator:ada", because="seen to", at=NOW
    )
    assert cleared is not None
    versions = await owner.fetch(
        "SELECT version FROM events WHERE payment_id = $1 ORDER BY version", raised.alarm_id
    )
    assert [row["version"] for row in versions] == [1, 2, 3]
    await owner.execute("ROLLBACK")
