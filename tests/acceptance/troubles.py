"""Provocations of what only a process, its database or its KMS in trouble answers."""

from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from msgspec.structs import replace

from strongroom.config import Home
from strongroom.http import creation, refunds, server
from strongroom.ids import from_text
from strongroom.log.window import NoWindow
from strongroom.payments.texts import Texts, TextStore
from strongroom.vault.errors import KmsUnavailable
from strongroom.vault.key_file import KeyFile
from strongroom.vault.secret import Secret
from tests.acceptance.client import Answer
from tests.acceptance.good_requests import NEEDS, World
from tests.acceptance.served import NOWHERE, served, served_through

TEXTS: dict[str, Any] = {"description": "for the one in row 7", "metadata": {"seat": "7"}}


async def refused_by_database(world: World, operation_id: str) -> Answer:
    """A rule of the database that we do not know of."""
    sent = await world.good(operation_id)
    if sent.payment is None:
        reference = sent.json["merchant_reference"]
    else:
        reference = (await world.api.payment(sent.payment))["merchant_reference"]
    await world.owner.execute(
        "ALTER TABLE payments ADD CONSTRAINT of_a_test "
        f"CHECK (merchant_reference <> '{reference}') NOT VALID"
    )
    try:
        return await world.send(sent)
    finally:
        await world.owner.execute("ALTER TABLE payments DROP CONSTRAINT of_a_test")


async def queue_full(world: World, operation_id: str) -> Answer:
    """A queue that holds nothing."""
    sent = await world.good(operation_id)
    async with served(world.running, queue_max=0) as (url, parts):
        parts.api._commander._batcher._queue_max = 0
        return await world.send(sent, url)


async def accept_contended(world: World, operation_id: str) -> Answer:
    """The new id is that of another row."""
    sent = await world.good(operation_id)
    before = await world.send(await world.good(operation_id))
    with pytest.MonkeyPatch.context() as drawn:
        payment, refund = (from_text(kind, before.id) if before.id.startswith(kind) else None
                           for kind in ("pay", "ref"))  # fmt: skip
        drawn.setattr(creation, "new_ids", lambda *_: [payment])
        drawn.setattr(refunds, "new_id", lambda *_: refund)
        async with served(world.running) as (url, _):
            return await world.send(sent, url)


async def without_logs(world: World, operation_id: str) -> Answer:
    """The process is on a machine that has no folder of logs."""
    sent = await world.good(operation_id)
    async with served(world.running, logs=world.running.home / "nowhere") as (url, _):
        return await world.send(sent, url)


class Closed(NoWindow):
    """Holds all money back."""

    async def is_open(self, legal_entity_id: UUID) -> bool:
        return False


async def without_a_witness(world: World, operation_id: str) -> Answer:
    """For too long no witness has seen the log."""
    sent = await world.good(operation_id)
    async with served(world.running, window=Closed()) as (url, _):
        return await world.send(sent, url)


async def too_many_connections(world: World, operation_id: str) -> Answer:
    sent = await world.good(operation_id)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "CONNECTIONS_MAX", 0)
        async with served(world.running) as (url, _):
            return await world.send(sent, url)


async def without_a_database(world: World, operation_id: str) -> Answer:
    sent = await world.good(operation_id)
    async with served(world.running, NOWHERE) as (url, _):
        return await world.send(sent, url)


async def without_rights(world: World, operation_id: str) -> Answer:
    """The process has a login, and nobody has given it any right."""
    sent = await world.good(operation_id)
    await world.owner.execute("DROP ROLE IF EXISTS of_a_test")
    await world.owner.execute("CREATE ROLE of_a_test LOGIN PASSWORD 'of-a-test'")
    place = urlsplit(Home(world.running.home).secret("database_api_url"))
    login = f"of_a_test:of-a-test@{place.hostname}:{place.port}"
    async with served(world.running, place._replace(netloc=login).geturl()) as (url, _):
        return await world.send(sent, url)


async def without_a_kms(world: World, operation_id: str) -> Answer:
    """Texts are to be read or sealed, no key is at hand, and the KMS does not answer."""
    await world.bare(**TEXTS)
    await world.method(await world.customer())
    sent = await world.good(operation_id)
    if operation_id in ("create_payment", "create_refund"):
        sent = sent.with_fields(metadata=TEXTS["metadata"])
    elif operation_id.endswith("_refund") or operation_id == "list_refunds":
        paid = await world.paid()
        made = await world.api.refund(paid, 100, metadata=TEXTS["metadata"])
        if operation_id == "get_refund":
            sent = replace(sent, path=f"/v1/refunds/{made.id}")
    elif sent.payment is not None:
        sent = sent.of(await getattr(world, NEEDS[operation_id])(**TEXTS))

    async def unwrap(*_: object) -> Secret:
        raise KmsUnavailable

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KeyFile, "unwrap", unwrap)
        async with served(world.running) as (url, _):
            return await world.send(sent, url)


async def cut_off(world: World, operation_id: str) -> Answer:
    """The database goes, after the key was seen; the account of an instrument was not."""
    sent = await world.good(operation_id)
    async with served_through(world.running) as (url, proxy):
        assert (await world.api.at(url).get("/v1/payments", limit=1)).status == 200
        async with proxy.away():
            return await world.send(sent, url)


async def cut_off_later(world: World, operation_id: str) -> Answer:
    """The database goes, after all was read that a request reads before it is queued."""
    sent = await world.good(operation_id)

    async def no_texts(*_: object) -> dict[UUID, Texts]:
        return {}

    async with served_through(world.running) as (url, proxy):
        warm = await world.send(await world.good("create_payment"), url)
        assert warm.status < 300, warm
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TextStore, "read", no_texts)
            async with proxy.away():
                return await world.send(sent, url)
