"""The API's login checks signatures, and has no other use of secrets."""

import asyncpg
import pytest

from strongroom.vault.kinds import STRIPE_API_KEY, STRIPE_WEBHOOK_SECRET
from tests.integration.conftest import Deployment
from tests.integration.entering import enter, slot_of

READ = "SELECT kind FROM strongroom.secrets ORDER BY kind"


async def kinds_seen(deployment: Deployment, login: str) -> list[str]:
    connection = await asyncpg.connect(deployment.url(login))
    try:
        async with connection.transaction():
            seen = deployment.ours.legal_entity_id
            await connection.execute(f"SET LOCAL strongroom.legal_entities = '{seen}'")
            return [row["kind"] for row in await connection.fetch(READ)]
    finally:
        await connection.close()


async def entered(deployment: Deployment) -> None:
    owner = await asyncpg.connect(
        deployment.owner_url, server_settings={"search_path": "strongroom, directory"}
    )
    try:
        slot = await slot_of(owner, deployment.ours.legal_entity_id)
    finally:
        await owner.close()
    await enter(deployment.home, slot, "sk_test_12345678")
    await enter(deployment.home, slot._replace(kind=STRIPE_WEBHOOK_SECRET), "whsec_12345678")


async def test_the_api_sees_secrets_of_webhooks_alone(deployment: Deployment) -> None:
    await entered(deployment)
    assert await kinds_seen(deployment, "api") == [STRIPE_WEBHOOK_SECRET]
    assert await kinds_seen(deployment, "worker") == [STRIPE_API_KEY, STRIPE_WEBHOOK_SECRET]


@pytest.mark.parametrize(
    "statement",
    ["SELECT * FROM strongroom.secrets", "UPDATE strongroom.secrets SET sealed = NULL",
     "SELECT reason FROM strongroom.webhook_events", "DELETE FROM strongroom.webhook_events"],
)  # fmt: skip
async def test_the_api_can_do_no_more(deployment: Deployment, statement: str) -> None:
    connection = await asyncpg.connect(deployment.url("api"))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()
