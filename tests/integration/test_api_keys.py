"""A process keeps API keys for seconds, hears of revocations, and refuses when it cannot."""

import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from strongroom.access import api_keys
from strongroom.access.api_keys import SCOPES, ApiKeys, make_secret, write_token
from strongroom.database import connect_pool
from strongroom.errors import Problem, Unauthenticated, Unavailable
from strongroom.ids import new_entity_id, new_id
from tests.acceptance.client import until
from tests.acceptance.frames import LossyProxy
from tests.acceptance.running import through
from tests.integration.conftest import Deployment

REVOCATION_SECONDS_MAX = 5.0
"""Promised to callers."""
PAST_STALE_SECONDS = api_keys.STALE_SECONDS + 1


class Jumping:
    """A monotonic clock that a test moves ahead."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Jumping:
    jumping = Jumping()
    monkeypatch.setattr(api_keys, "monotonic_seconds", jumping)
    return jumping


@pytest.fixture
async def proxy(deployment: Deployment) -> AsyncIterator[LossyProxy]:
    """The way to the database, which a test can cut."""
    async with LossyProxy(deployment.owner_url).serving() as proxy:
        yield proxy


@pytest.fixture
async def pool(deployment: Deployment, proxy: LossyProxy) -> AsyncIterator[asyncpg.Pool]:
    url = through(deployment.url("api"), proxy.port)
    pool = await connect_pool(url, size_max=2, application="test")
    yield pool
    pool.terminate()


@pytest.fixture
async def keys(pool: asyncpg.Pool) -> AsyncIterator[ApiKeys]:
    """Keys as a process keeps them, with its check for revocations running."""
    keys = ApiKeys(pool, "dev")
    keys.start()
    yield keys
    await keys.close()


async def refusal(keys: ApiKeys, token: str) -> Problem:
    with pytest.raises(Problem) as caught:
        await keys.authenticate(f"Bearer {token}")
    return caught.value


async def until_refused(keys: ApiKeys, header: str) -> None:
    """Raises TimeoutError when that is not within the promised time."""

    async def is_refused() -> bool:
        try:
            await keys.authenticate(header)
        except Unauthenticated:
            return True
        return False

    await until(is_refused, REVOCATION_SECONDS_MAX)


async def revoke(deployment: Deployment) -> None:
    owner = await asyncpg.connect(deployment.owner_url)
    try:
        await owner.execute(
            "UPDATE strongroom.api_keys SET revoked_at = '2026-12-01' WHERE api_key_id = $1",
            deployment.ours.api_key_id,
        )
    finally:
        await owner.close()


async def test_a_good_key_acts_for_its_entity_within_its_scopes(
    keys: ApiKeys, deployment: Deployment
) -> None:
    credential = await keys.authenticate(f"Bearer {deployment.ours.token}")
    assert credential.legal_entity_id == deployment.ours.legal_entity_id
    assert credential.api_key_id == deployment.ours.api_key_id
    assert credential.scopes == SCOPES
    assert deployment.ours.token[-43:] not in repr(credential)


async def test_only_a_digest_of_the_secret_is_stored(deployment: Deployment) -> None:
    owner = await asyncpg.connect(deployment.owner_url)
    try:
        rows = await owner.fetch("SELECT k::text FROM strongroom.api_keys k")
    finally:
        await owner.close()
    secret = deployment.ours.token[-43:]
    assert len(rows) == 2
    assert not any(secret in row[0] or secret.encode().hex() in row[0] for row in rows)


async def test_a_kept_key_needs_no_database(
    keys: ApiKeys, deployment: Deployment, proxy: LossyProxy
) -> None:
    await keys.authenticate(f"Bearer {deployment.ours.token}")
    await proxy.cut()
    assert (await keys.authenticate(f"Bearer {deployment.ours.token}")).scopes == SCOPES


async def test_wrong_secrets_and_unknown_keys_are_refused_also_when_the_key_is_kept(
    keys: ApiKeys, deployment: Deployment
) -> None:
    ours, theirs = deployment.ours, deployment.theirs
    await keys.authenticate(f"Bearer {ours.token}")
    unknown = new_id(0, ours.legal_entity_id)
    for token in (
        write_token("dev", ours.api_key_id, make_secret()),
        write_token("dev", ours.api_key_id, theirs.token[-43:]),
        write_token("dev", unknown, ours.token[-43:]),
        write_token("dev", new_entity_id(0), ours.token[-43:]),
        write_token("live", ours.api_key_id, ours.token[-43:]),
    ):
        assert isinstance(await refusal(keys, token), Unauthenticated)


async def test_a_revocation_is_heard_of_in_time(keys: ApiKeys, deployment: Deployment) -> None:
    header = f"Bearer {deployment.ours.token}"
    await keys.authenticate(header)
    await revoke(deployment)
    await until_refused(keys, header)
    assert isinstance(await refusal(keys, deployment.ours.token), Unauthenticated)


async def test_a_removed_key_is_refused_in_time(keys: ApiKeys, deployment: Deployment) -> None:
    header = f"Bearer {deployment.ours.token}"
    await keys.authenticate(header)
    owner = await asyncpg.connect(deployment.owner_url)
    await owner.execute("DELETE FROM strongroom.api_keys")
    await owner.close()
    await until_refused(keys, header)


async def test_a_key_that_cannot_be_checked_is_refused_once_it_is_stale(
    deployment: Deployment, pool: asyncpg.Pool, proxy: LossyProxy, clock: Jumping
) -> None:
    keys = ApiKeys(pool, "dev")
    header = f"Bearer {deployment.ours.token}"
    async with proxy.away():
        never_seen = await refusal(keys, deployment.ours.token)
        assert isinstance(never_seen, Unavailable)
    await keys.authenticate(header)
    async with proxy.away():
        await keys.authenticate(header)
        clock.ahead += PAST_STALE_SECONDS
        stale = await refusal(keys, deployment.ours.token)
        assert isinstance(stale, Unavailable)
        assert (stale.code, stale.retry_safe) == ("key_not_checked", True)
    assert (await keys.authenticate(header)).scopes == SCOPES


async def test_a_stale_key_is_read_again_and_its_revocation_seen(
    deployment: Deployment, pool: asyncpg.Pool, clock: Jumping
) -> None:
    """Also where the check in the background does not run at all."""
    keys = ApiKeys(pool, "dev")
    await keys.authenticate(f"Bearer {deployment.ours.token}")
    await revoke(deployment)
    clock.ahead += PAST_STALE_SECONDS
    assert isinstance(await refusal(keys, deployment.ours.token), Unauthenticated)
