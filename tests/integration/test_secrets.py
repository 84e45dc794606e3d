"""Secrets in the vault: entered, rotated, retired, read by a worker; and what an outage leaves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs

from strongroom.clock import SystemClock
from strongroom.config import ConfigurationError, Settings
from strongroom.database import SEARCH_PATH, connect_pool
from strongroom.gateways.port import Account, Prepared
from strongroom.gateways.stripe.client import StripeGateway
from strongroom.payments.states import NotSent
from strongroom.telemetry.secrets_due import SecretsDue
from strongroom.vault.entering import (
    replace_secret,
    retire_secret,
    rotate_secret,
    set_secret,
)
from strongroom.vault.errors import (
    KeyMissing,
    KmsUnavailable,
    SecretMissing,
    Tampered,
    WrongPlace,
)
from strongroom.vault.keys import add_version
from strongroom.vault.kinds import STRIPE_API_KEY
from strongroom.vault.opening import Vault, open_kms, open_vault
from strongroom.vault.secret import Secret
from strongroom.vault.secrets import LOOK_SECONDS, STALE_SECONDS, Secrets, Slot
from tests.integration.conftest import Deployment
from tests.integration.entering import enter, owner_of, slot_of
from tests.integration.stripe_adapter.asking import RETURN_URL, new_attempt
from tests.kms_servers import KmsFront
from tests.sandbox.conftest import SECRET_KEY, RunningStripe, own_stripe

__all__ = ["own_stripe"]
FIRST, SECOND, THIRD = (f"sk_test_{name}0123456789" for name in ("first", "second", "third"))


@dataclass
class Reader:
    """A worker's secrets, on a clock that the test moves."""

    slot: Slot
    secrets: Secrets
    vault: Vault
    pool: asyncpg.Pool
    now: list[float]

    async def known(self) -> dict[int, str]:
        """By version, what it is; newest first, a look later."""
        self.now[0] += LOOK_SECONDS
        versions = await self.secrets.versions(self.slot)
        return {
            version: (await self.secrets.open(self.slot, version)).reveal_text()
            for version in versions
        }

    def pass_time(self, seconds: float) -> None:
        self.now[0] += seconds


@asynccontextmanager
async def reading_in(deployment: Deployment, slot: Slot) -> AsyncIterator[Reader]:
    home = deployment.home
    vault = await open_vault(home, home.settings(), "worker")
    pool = await connect_pool(deployment.url("worker"), size_max=2, application="worker")
    now = [1000.0]
    secrets = Secrets(pool, vault.keyring, lambda: now[0])
    yield Reader(slot, secrets, vault, pool, now)
    secrets.close()
    await vault.close()
    await pool.close()


@pytest.fixture
async def owner(deployment: Deployment) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(
        deployment.owner_url, server_settings={"search_path": SEARCH_PATH}
    )
    yield connection
    await connection.close()


@pytest.fixture
async def slot(deployment: Deployment, owner: asyncpg.Connection) -> Slot:
    deployment.home.write_settings(Settings(mode="dev"))
    return await slot_of(owner, deployment.ours.legal_entity_id)


@pytest.fixture
async def reader(deployment: Deployment, slot: Slot) -> AsyncIterator[Reader]:
    async with reading_in(deployment, slot) as made:
        yield made


async def retire(
    deployment: Deployment, slot: Slot, version: int | None = None, *, last_too: bool = False
) -> int:
    async with owner_of(deployment.home, slot) as (connection, _):
        now = SystemClock().now()
        return await retire_secret(connection, slot, version, now, last_too=last_too)


# Versions.


async def test_two_versions_are_in_use_until_the_older_is_retired(deployment, slot, reader) -> None:
    with pytest.raises(SecretMissing):
        await reader.known()
    assert await enter(deployment.home, slot, FIRST) == 1
    assert await reader.known() == {1: FIRST}
    assert await enter(deployment.home, slot, SECOND, rotate_secret) == 2
    assert list((await reader.known()).items()) == [(2, SECOND), (1, FIRST)]
    assert await retire(deployment, slot) == 1
    assert await reader.known() == {2: SECOND}
    with pytest.raises(SecretMissing):
        await reader.secrets.open(slot, 1)


async def test_what_would_be_a_mistake_is_refused_and_changes_nothing(
    deployment, slot, reader, owner
) -> None:
    home = deployment.home
    with pytest.raises(ConfigurationError, match="there is none yet"):
        await enter(home, slot, FIRST, rotate_secret)
    with pytest.raises(ConfigurationError, match="no such version"):
        await retire(deployment, slot)
    await enter(home, slot, FIRST)
    for how, text, said in (
        (set_secret, SECOND, "there is one already"),
        (rotate_secret, FIRST, "this is the secret that is in use"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            await enter(home, slot, text, how)
    for version, said in ((None, "it is the only one"), (2, "no such version")):
        with pytest.raises(ConfigurationError, match=said):
            await retire(deployment, slot, version)
    await enter(home, slot, SECOND, rotate_secret)
    with pytest.raises(ConfigurationError, match="versions 1 and 2 are in use"):
        await enter(home, slot, THIRD, rotate_secret)
    assert await reader.known() == {2: SECOND, 1: FIRST}
    assert await owner.fetchval("SELECT count(*) FROM secrets") == 2


async def test_what_was_retired_is_gone_and_its_number_is_not_used_again(
    deployment, slot, reader, owner
) -> None:
    await enter(deployment.home, slot, FIRST)
    assert await retire(deployment, slot, last_too=True) == 1
    with pytest.raises(SecretMissing):
        await reader.known()
    row = await owner.fetchrow("SELECT sealed, retired_at FROM secrets WHERE version = 1")
    assert row["sealed"] is None
    assert row["retired_at"] is not None
    assert await enter(deployment.home, slot, SECOND) == 2
    assert await reader.known() == {2: SECOND}


async def test_replacing_leaves_one_and_does_nothing_the_second_time(deployment, slot, reader):
    await enter(deployment.home, slot, FIRST)
    await enter(deployment.home, slot, SECOND, rotate_secret)
    for expected in (3, None):
        async with owner_of(deployment.home, slot) as (connection, keys):
            now = SystemClock().now()
            assert await replace_secret(connection, keys, slot, Secret(THIRD), now) == expected
    assert await reader.known() == {3: THIRD}


async def test_the_database_holds_no_secret_in_the_clear(deployment, slot, owner) -> None:
    await enter(deployment.home, slot, FIRST)
    row = await owner.fetchrow("SELECT * FROM secrets")
    assert FIRST.encode() not in row["sealed"]
    assert row["rotate_by"] - row["created_at"] == timedelta(days=90)


# Sealed for one place.


MOVES: dict[str, Callable[[Slot, UUID], Slot]] = {
    "another account": lambda slot, other: slot._replace(owner_id=other),
    "another kind": lambda slot, _: slot._replace(kind="stripe_webhook_secret"),
}


@pytest.mark.parametrize("move", MOVES)
async def test_a_value_that_was_moved_is_not_believed(
    deployment, slot, reader, owner, move
) -> None:
    await enter(deployment.home, slot, FIRST)
    there = MOVES[move](slot, deployment.ours.payment_id)
    await owner.execute(
        "INSERT INTO secrets SELECT legal_entity_id, $1, $2, version, sealed, created_at, "
        "rotate_by FROM secrets", there.owner_id, there.kind,
    )  # fmt: skip
    assert await reader.secrets.versions(there) == (1,)
    with pytest.raises(WrongPlace), capture_logs() as lines:
        await reader.secrets.open(there, 1)
    assert [line["event"] for line in lines] == ["secret_unreadable"]


async def test_an_older_value_under_a_newer_version_is_not_believed(
    deployment, slot, reader, owner
) -> None:
    await enter(deployment.home, slot, FIRST)
    await owner.execute("UPDATE secrets SET version = 2")
    with pytest.raises(WrongPlace):
        await reader.known()


async def test_a_value_that_was_changed_is_not_believed_though_it_was_opened_before(
    deployment, slot, reader, owner
) -> None:
    await enter(deployment.home, slot, FIRST)
    await reader.known()
    await owner.execute("UPDATE secrets SET sealed = set_byte(sealed, 70, 1 # get_byte(sealed,70))")
    with pytest.raises(Tampered):
        await reader.known()


async def test_without_the_keys_of_its_entity_nothing_opens(deployment, slot, reader, owner):
    await enter(deployment.home, slot, FIRST)
    keys = await asyncpg.connect(
        deployment.home.secret("keys_owner_url"), server_settings={"search_path": SEARCH_PATH}
    )
    await keys.execute("DELETE FROM entity_keys")
    await keys.close()
    with pytest.raises(KeyMissing):
        await reader.known()


async def test_a_secret_sealed_under_a_key_of_this_moment_is_read(deployment, slot, reader):
    """A worker keeps the keys of an entity for a minute, and this one came after it read them."""
    await enter(deployment.home, slot, FIRST)
    assert await reader.known() == {1: FIRST}
    keys = await asyncpg.connect(
        deployment.home.secret("keys_owner_url"), server_settings={"search_path": SEARCH_PATH}
    )
    kms = open_kms(deployment.home, deployment.home.settings())
    entity, now = slot.legal_entity_id, SystemClock().now()
    assert await add_version(keys, kms, entity, now, only_first=False) == 2
    await keys.close()
    await kms.close()
    await enter(deployment.home, slot, SECOND, rotate_secret)
    assert await reader.known() == {2: SECOND, 1: FIRST}


# Who reads, and how often.


async def test_the_database_is_asked_once_in_some_seconds(deployment, slot, reader) -> None:
    await enter(deployment.home, slot, FIRST)
    assert await reader.known() == {1: FIRST}
    await enter(deployment.home, slot, SECOND, rotate_secret)
    reader.pass_time(LOOK_SECONDS - 0.1)
    assert await reader.secrets.versions(slot) == (1,)
    reader.pass_time(0.2)
    assert await reader.secrets.versions(slot) == (2, 1)


async def test_while_the_database_is_away_what_was_seen_holds_for_some_minutes(
    deployment, slot, reader
) -> None:
    await enter(deployment.home, slot, FIRST)
    assert await reader.known() == {1: FIRST}
    await reader.pool.close()
    assert await reader.known() == {1: FIRST}
    reader.pass_time(STALE_SECONDS)
    with pytest.raises(asyncpg.InterfaceError):
        await reader.secrets.versions(slot)


async def test_the_date_of_the_newest_in_use_is_shown_and_nothing_else(deployment, slot, owner):
    await enter(deployment.home, slot, FIRST)
    await owner.execute("UPDATE secrets SET rotate_by = '2026-01-01'")
    pool = await connect_pool(deployment.url("worker"), size_max=1, application="worker")
    due = SecretsDue(pool)

    async def shown() -> dict[str, float]:
        await due.read()
        [family] = due.collect()
        return {sample.labels["kind"]: sample.value for sample in family.samples}

    first = await shown()
    assert list(first) == [STRIPE_API_KEY]
    await enter(deployment.home, slot, SECOND, rotate_secret)
    later = await shown()
    assert later[STRIPE_API_KEY] - first[STRIPE_API_KEY] > timedelta(days=90).total_seconds()
    await pool.close()


# A gateway during an outage of the KMS.


async def test_a_client_at_hand_goes_on_while_the_kms_is_away(
    deployment: Deployment,
    owner: asyncpg.Connection,
    front: KmsFront,
    aws_environment: pytest.MonkeyPatch,
    own_stripe: RunningStripe,
) -> None:
    home = deployment.home
    home.write_settings(
        Settings(mode="dev", kms="aws-kms:" + front.make_key(), kms_endpoint=front.url)
    )
    slot = await slot_of(owner, deployment.ours.legal_entity_id)
    await enter(home, slot, SECRET_KEY)
    account = Account(
        legal_entity_id=slot.legal_entity_id, gateway_account_id=slot.owner_id, gateway="stripe",
        environment="stand_in", base_url=own_stripe.url,
    )  # fmt: skip
    async with reading_in(deployment, slot) as reader:
        at_work = StripeGateway(SystemClock(), reader.secrets, RETURN_URL, mode="dev")
        assert isinstance((await at_work.prepare(account, new_attempt(at_work)))[0], Prepared)
        asked = front.calls("Decrypt")
        front.error = (500, "KMSInternalException")
        reader.vault.keyring.forget(slot.legal_entity_id)  # as a minute does
        reader.pass_time(3600)
        with pytest.raises(KmsUnavailable):
            await reader.secrets.open(slot, 1)
        answer, _ = await at_work.prepare(account, new_attempt(at_work))
        assert isinstance(answer, Prepared)
        # Who has no client yet sends nothing.
        fresh = StripeGateway(SystemClock(), reader.secrets, RETURN_URL, mode="dev")
        answer, call = await fresh.prepare(account, new_attempt(fresh))
        assert answer == NotSent("credentials_unreadable")
        assert call.http_status is None
        front.mend()
        async for _ in retries():
            answer, _ = await fresh.prepare(account, new_attempt(fresh))
            if isinstance(answer, Prepared):
                break
        assert isinstance(answer, Prepared)
        assert front.calls("Decrypt") > asked
        # A client does not outlive its version.
        await enter(home, slot, SECOND, rotate_secret)
        await retire(deployment, slot, 1)
        reader.pass_time(LOOK_SECONDS)
        answer, call = await at_work.prepare(account, new_attempt(at_work))
        assert (answer, call.http_status) == (NotSent("credentials_refused"), 401)
        for adapter in (at_work, fresh):
            await adapter.close()


async def retries() -> AsyncIterator[int]:
    """The adapter of the KMS leaves it alone for some seconds after it failed."""
    for number in range(60):
        yield number
        await asyncio.sleep(0.5)
