"""What is made of a secret is entered, rotated, replaced and retired with it."""

import asyncpg

from strongroom.clock import SystemClock
from strongroom.vault.entering import (
    enter_with_derived,
    replace_secret,
    retire_derived,
    retire_secret,
    rotate_secret,
    set_secret,
)
from strongroom.vault.kinds import BRAINTREE_KEYS, BRAINTREE_WEBHOOK_KEY
from strongroom.vault.secret import Secret
from tests.integration.conftest import Deployment
from tests.integration.entering import owner_of, slot_of

FIRST, SECOND, THIRD = (
    Secret(f"merchant:public_{name}:private_{name}_of_tests") for name in ("one", "two", "three")
)
IN_USE = "SELECT kind, version FROM strongroom.secrets WHERE retired_at IS NULL ORDER BY 1, 2"


async def test_what_is_made_of_a_secret_goes_with_it(deployment: Deployment) -> None:
    owner = await asyncpg.connect(
        deployment.owner_url, server_settings={"search_path": "strongroom, directory"}
    )

    async def in_use() -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for row in await owner.fetch(IN_USE):
            found.setdefault(row["kind"], []).append(row["version"])
        return found

    try:
        stripe = await slot_of(owner, deployment.ours.legal_entity_id)
        slot, now = stripe._replace(kind=BRAINTREE_KEYS), SystemClock().now()
        for how, secret, version in ((set_secret, FIRST, 1), (rotate_secret, SECOND, 2)):
            async with owner_of(deployment.home, slot) as (connection, keys):
                made = await enter_with_derived(how, connection, keys, slot, secret, now)
                assert made == version
        assert await in_use() == {BRAINTREE_KEYS: [1, 2], BRAINTREE_WEBHOOK_KEY: [1, 2]}
        async with owner_of(deployment.home, slot) as (connection, _):
            retired = await retire_secret(connection, slot, 2, now, last_too=False)
            await retire_derived(connection, slot, retired, now)
        assert await in_use() == {BRAINTREE_KEYS: [1], BRAINTREE_WEBHOOK_KEY: [1]}
        for expected in (3, None):
            async with owner_of(deployment.home, slot) as (connection, keys):
                assert await replace_secret(connection, keys, slot, THIRD, now) == expected
        assert await in_use() == {BRAINTREE_KEYS: [3], BRAINTREE_WEBHOOK_KEY: [3]}
    finally:
        await owner.close()
