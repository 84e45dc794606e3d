"""Description and metadata: sealed on disk, shown to their owner, worth nothing to anybody else."""

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from strongroom.clock import SystemClock
from strongroom.config import Home
from strongroom.http.bodies import CreatePayment, stable_fields
from strongroom.ids import from_text
from strongroom.payments.idempotency import WITH_TEXTS, fingerprint
from strongroom.payments.resealing import BESIDE, EDITED, count_stale, reseal
from strongroom.vault.opening import open_vault
from tests.acceptance.client import Api, fresh, item, order, until
from tests.acceptance.inside import asked, create, inside
from tests.acceptance.running import Running, second_api

TEXTS: dict[str, Any] = {
    "description": "Rosa Luxemburg, row 7",
    "metadata": {"seat in hall": "ä 7"},
}
RESEALED_SECONDS_MAX = 60


def texts(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: answer[name] for name in ("description", "metadata")}


async def test_every_answer_shows_them(api: Api) -> None:
    body, key = order(**TEXTS, capture="manual"), fresh("key")
    made = await api.pay(body, key=key, wait=20)
    assert (made.status, texts(made.json)) == (201, TEXTS)
    answers = [
        await api.pay(body, key=key),
        await api.get(f"/v1/payments/{made.id}"),
        await api.capture(made.id, wait=20),
    ]
    listed = await api.get("/v1/payments", merchant_reference=body["merchant_reference"])
    bulk = await api.bulk([body | {"idempotency_key": key}])
    shown = [answer.json for answer in answers] + [
        listed.json["data"][0], bulk.json["results"][0]["payment"],
    ]  # fmt: skip
    assert answers[0].replayed
    assert bulk.json["results"][0]["replayed"]
    assert [texts(payment) for payment in shown] == [TEXTS] * len(shown)


async def test_a_refund_has_its_own(api: Api) -> None:
    made = await api.pay(order(**TEXTS), wait=20)
    key, metadata = fresh("key"), {"why": "röw 7 was taken"}
    refund = await api.refund(made.id, 100, key=key, metadata=metadata, wait=20)
    again = await api.refund(made.id, 100, key=key, metadata=metadata)
    found = await api.get(f"/v1/refunds/{refund.id}")
    listed = await api.get("/v1/refunds", payment=made.id)
    assert (again.replayed, again.id) == (True, refund.id)
    shown = [refund.json, again.json, found.json, listed.json["data"][0]]
    assert [one["metadata"] for one in shown] == [metadata] * 4
    other = await api.refund(made.id, 100, key=key, metadata={"why": "another"})
    assert other.code == "idempotency_key_reused"


async def test_no_row_holds_them_and_no_digest_can_be_tried(
    api: Api, owner: asyncpg.Connection
) -> None:
    body, key = order(None, **TEXTS), fresh("key")
    made = await api.pay(body, key=key)
    payment_id = from_text("pay", made.id)
    [row] = await owner.fetch("SELECT * FROM payments WHERE payment_id = $1", payment_id)
    assert (row["description"], json.loads(row["metadata"])) == (None, {})
    events = await owner.fetch("SELECT * FROM events WHERE payment_id = $1", payment_id)
    sealed = await owner.fetchval("SELECT sealed FROM texts WHERE owner_id = $1", payment_id)
    stored = await owner.fetchval(
        "SELECT fingerprint FROM idempotency_keys WHERE idempotency_key = $1", key
    )
    for hidden in ("Rosa", "Luxemburg", "seat in hall", "ä 7"):
        for place in (str(dict(row)), *(str(dict(event)) for event in events), repr(sealed)):
            assert hidden not in place
    # Who knows all the rest cannot find out by trying.
    fields = CreatePayment(
        amount=body["amount"],
        currency="EUR",
        merchant_reference=body["merchant_reference"],
        **TEXTS,
    )
    assert stored[:1] == WITH_TEXTS
    assert stored != fingerprint("POST", "/v1/payments", stable_fields(fields))
    assert "texts" in json.loads(events[0]["payload"])


async def test_what_an_older_version_stored_is_shown_and_replayed(
    running: Running, api: Api, owner: asyncpg.Connection
) -> None:
    body, key = order(None, **TEXTS), fresh("key")
    async with inside(running, seals=False) as before:
        made = json.loads((await create(before, running.api_key, body, key)).body)
    row = await owner.fetchrow(
        "SELECT description FROM payments WHERE payment_id = $1", from_text("pay", made["id"])
    )
    assert row["description"] == TEXTS["description"]
    again = await api.pay(body, key=key)
    assert (again.status, again.replayed, texts(again.json)) == (200, True, TEXTS)
    assert (await api.pay(body | {"description": "x"}, key=key)).code == "idempotency_key_reused"
    # And the other way round: processes that seal and those that do not yet serve together.
    body, key = order(None, **TEXTS), fresh("key")
    made = (await api.pay(body, key=key)).json
    async with inside(running, seals=False) as before:
        reply = await create(before, running.api_key, body, key)
    assert (reply.status, json.loads(reply.body)["id"]) == (200, made["id"])
    assert texts(json.loads(reply.body)) == TEXTS


async def test_without_the_kms_only_what_needs_it_has_to_wait(
    running: Running, api: Api, tmp_path: Path
) -> None:
    with_texts = await api.pay(order(None, **TEXTS))
    without = await api.pay(order(None))
    async with second_api(running, tmp_path) as second:
        other, root = api.at(second.url), tmp_path / "second-home" / "secrets" / "kms_root"
        content = root.read_bytes()
        root.unlink()
        refused, key = order(None, **TEXTS), fresh("key")
        for answer in (
            await other.pay(refused, key=key),
            await other.get(f"/v1/payments/{with_texts.id}"),
            await other.cancel(with_texts.id),
        ):
            assert (answer.status, answer.code) == (503, "vault_unavailable")
            assert answer.json["retry_safe"]
            assert "Retry-After" in answer.headers
        assert (await other.pay(order(None))).status == 201
        assert (await other.get(f"/v1/payments/{without.id}")).status == 200
        assert (await other.cancel(without.id)).status in (200, 202)
        mixed = await other.bulk([item(None), item(None, **TEXTS), item(None)])
        assert [one["status"] for one in mixed.json["results"]] == [201, 503, 201]
        assert (await api.payment(with_texts.id))["status"] == "requires_payment_method"
        root.write_bytes(content)
        root.chmod(0o600)
        assert (await other.pay(refused, key=key)).status == 201
        assert texts(await other.payment(with_texts.id)) == TEXTS


@pytest.mark.parametrize("edit", ["swapped", "cut", "flipped", "another entity's"])
async def test_an_edited_text_is_never_shown(
    edit: str, running: Running, api: Api, other_api: Api, owner: asyncpg.Connection
) -> None:
    bodies = [order(None, description=f"{edit} {n}") for n in range(2)]
    made = [await api.pay(body) for body in bodies]
    foreign = await other_api.pay(order(None, **TEXTS))
    ids = [from_text("pay", one.id) for one in (*made, foreign)]
    sealed = [
        await owner.fetchval("SELECT sealed FROM texts WHERE owner_id = $1", one) for one in ids
    ]
    put = {
        "swapped": sealed[1],
        "cut": sealed[0][:-1],
        "flipped": sealed[0][:-1] + bytes([sealed[0][-1] ^ 1]),
        "another entity's": sealed[2],
    }[edit]
    await owner.execute("UPDATE texts SET sealed = $2 WHERE owner_id = $1", ids[0], put)
    async with inside(running) as process:
        shown = [
            await process.operations.get(asked(running.api_key, {}, "none"), made[0].id),
            await process.commands.cancel(asked(running.api_key, {}, fresh("key")), made[0].id),
        ]
    for reply in shown:  # words that were changed keep nobody from moving money
        assert reply.status in (200, 202)
        assert texts(json.loads(reply.body)) == {"description": None, "metadata": {}}
    await owner.execute("DELETE FROM texts WHERE owner_id = $1", ids[0])
    assert (await api.payment(made[0].id))["description"] is None  # erased, and all else stands


async def test_what_is_written_into_a_row_is_neither_shown_nor_made_genuine(
    running: Running, api: Api, owner: asyncpg.Connection
) -> None:
    sealed, bare = await api.pay(order(None, **TEXTS)), await api.pay(order(None))
    for one in (sealed, bare):
        await owner.execute(
            "UPDATE payments SET description = 'forged' WHERE payment_id = $1",
            from_text("pay", one.id),
        )
    assert texts(await api.payment(sealed.id)) == TEXTS
    home = Home(running.home)
    vault = await open_vault(home, home.settings(), "api")
    try:
        keys = await vault.keyring.entity(from_text("ent", running.legal_entity))
        refused = await reseal(owner, keys, SystemClock().now(), lambda _: None)
    finally:
        await vault.close()
    assert {name for name in refused if sealed.id in name} == {f"{sealed.id}: {BESIDE}"}
    assert {name for name in refused if bare.id in name} == {f"{bare.id}: {EDITED}"}
    for one in (sealed, bare):
        events = await owner.fetch(
            "SELECT kind FROM events WHERE payment_id = $1", from_text("pay", one.id)
        )
        assert [row["kind"] for row in events] == ["payment.accepted"]
        await owner.execute(
            "UPDATE payments SET description = NULL WHERE payment_id = $1",
            from_text("pay", one.id),
        )


async def test_a_row_that_somebody_holds_keeps_nobody_else_waiting_for_its_page(
    running: Running, api: Api, owner: asyncpg.Connection
) -> None:
    async with inside(running, seals=False) as before:
        made = [
            json.loads((await create(before, running.api_key, order(None, **TEXTS))).body)["id"]
            for _ in range(3)
        ]
    home = Home(running.home)
    vault = await open_vault(home, home.settings(), "api")
    other = await asyncpg.connect(
        running.owner_url, server_settings={"search_path": "strongroom, directory"}
    )
    try:
        keys = await vault.keyring.entity(from_text("ent", running.legal_entity))
        async with other.transaction():
            await other.execute(
                "SELECT FROM payments WHERE payment_id = $1 FOR UPDATE", from_text("pay", made[1])
            )
            await asyncio.wait_for(
                reseal(owner, keys, SystemClock().now(), lambda _: None), RESEALED_SECONDS_MAX
            )
            for one in (made[0], made[2]):
                assert (await api.cancel(one)).status in (200, 202)
        assert await count_stale(owner, keys) == 1
        await reseal(owner, keys, SystemClock().now(), lambda _: None)
        assert await count_stale(owner, keys) == 0
    finally:
        await other.close()
        await vault.close()
    assert texts(await api.payment(made[1])) == TEXTS


async def test_what_an_older_version_left_in_the_clear_is_sealed_while_all_goes_on(
    running: Running, api: Api, owner: asyncpg.Connection
) -> None:
    keys, home = [fresh("key") for _ in range(3)], Home(running.home)
    bodies = [order(**TEXTS) for _ in keys]
    why = {"why": "nöne"}
    async with inside(running, seals=False) as before:
        for body, key in zip(bodies, keys, strict=True):
            made = json.loads((await create(before, running.api_key, body, key)).body)
            await api.until(made["id"], "succeeded")
            for number in range(2):
                wish = {"payment": made["id"], "amount": 100, "metadata": why}
                refund = asked(running.api_key, wish, f"{key}-{number}", "/v1/refunds")
                assert (await before.refunds.create(refund)).status in (201, 202)
    vault = await open_vault(home, home.settings(), "api")
    done: list[int] = []
    try:
        entity = from_text("ent", running.legal_entity)
        keyring = await vault.keyring.entity(entity)

        async def nothing_is_left() -> bool:  # what is being settled is passed over at first
            again: list[int] = []
            await reseal(owner, keyring, SystemClock().now(), again.append)
            done.extend(again)
            return sum(done) >= 9 and sum(again) == 0

        await until(nothing_is_left)
    finally:
        await vault.close()
    for table in ("payments", "refunds"):
        left = await owner.fetchval(
            f"SELECT count(*) FROM {table} WHERE legal_entity_id = $1 AND metadata <> '{{}}'",
            entity,
        )
        assert left == 0
    for body, key in zip(bodies, keys, strict=True):
        replay = await api.pay(body, key=key)
        assert (replay.replayed, texts(replay.json)) == (True, TEXTS)
        refunds = (await api.get("/v1/refunds", payment=replay.id)).json["data"]
        assert [refund["metadata"] for refund in refunds] == [why, why]
        kinds = await owner.fetch(
            "SELECT kind, version FROM events WHERE payment_id = $1 ORDER BY version",
            from_text("pay", replay.id),
        )
        assert [row["version"] for row in kinds] == list(range(1, len(kinds) + 1))
        sealed = [row["kind"] for row in kinds if row["kind"].endswith("texts_sealed")]
        assert sealed == ["payment.texts_sealed", "refund.texts_sealed", "refund.texts_sealed"]
