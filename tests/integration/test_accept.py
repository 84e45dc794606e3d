"""The accept path on a real database: most batches meet nobody, and some meet each other."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import msgspec
import pytest
from msgspec.structs import replace

from strongroom.clock import ShiftedClock, microseconds_since_epoch
from strongroom.database import connect_pool
from strongroom.http.asking import problem_of
from strongroom.ids import new_id
from strongroom.payments import accept
from strongroom.payments.accept import Acceptor
from strongroom.payments.acceptance import (
    Created,
    KeyReused,
    Outcome,
    ReferenceTaken,
    Replayed,
    Request,
)
from strongroom.payments.idempotency import fingerprint
from strongroom.payments.journal import accepted_payload
from strongroom.payments.texts import SALT_BYTES, Texts, seal_texts
from strongroom.vault.envelope import new_keyset
from strongroom.vault.errors import KeysOutdated
from strongroom.vault.keys import EntityKeys
from strongroom.vault.secret import Secret
from tests.unit.examples import ENTITY, payment

PROCESSES = 3
REQUESTS = 400
KEYS = 150
ALL = [
    "SELECT idempotency_key AS name, payment_id FROM idempotency_keys",
    "SELECT merchant_reference AS name, payment_id FROM merchant_references",
    "SELECT merchant_reference AS name, payment_id FROM payments",
    "SELECT '' AS name, payment_id FROM jobs",
    "SELECT '' AS name, payment_id FROM events",
]


def request(key: str, reference: str, amount: int = 100) -> Request:
    now = ShiftedClock().now()
    one = payment(
        payment_id=new_id(microseconds_since_epoch(now), ENTITY),
        version=1,
        amount_minor=amount,
        merchant_reference=reference,
        created_at=now,
        updated_at=now,
        not_after=now + timedelta(minutes=15),
    )
    return Request(
        payment=one,
        idempotency_key=key,
        fingerprint=fingerprint("POST", "/v1/payments", [reference, amount]),
        actor="test",
        run_at=now,
        row_digest=one.row_digest(),
        payload=accepted_payload(one, key),
    )


@pytest.fixture
def url(migrated_url: str) -> str:
    return migrated_url


@asynccontextmanager
async def started(url: str, count: int) -> AsyncIterator[list[Acceptor]]:
    """As many API processes' accept paths."""
    pools = [await connect_pool(url, size_max=2, application="test") for _ in range(count)]
    made = [Acceptor(pool, writers=2, batch_max=32) for pool in pools]
    for one in made:
        one.start()
    yield made
    for one, pool in zip(made, pools, strict=True):
        await one.drain()
        await pool.close()


@pytest.fixture
async def process(url: str) -> AsyncIterator[Acceptor]:
    async with started(url, 1) as processes:
        yield processes[0]


async def rows(url: str) -> list[list[asyncpg.Record]]:
    """Every table of the accept path."""
    owner = await asyncpg.connect(url, server_settings={"search_path": "strongroom, directory"})
    found = [await owner.fetch(statement) for statement in ALL]
    await owner.close()
    return found


@pytest.mark.sampled(4)
@pytest.mark.parametrize("seed", range(4))
async def test_processes_that_want_the_same_leave_one_payment_a_key_and_an_order(
    url: str, seed: int
) -> None:
    """Keys and orders meet across processes, within a batch, and in bulks and alone."""
    chance = random.Random(seed)
    wanted = [
        (f"key-{number}", f"order-{chance.choice([number, chance.randrange(KEYS)])}", amount)
        for number in (chance.randrange(KEYS) for _ in range(REQUESTS))
        for amount in [100 + chance.randrange(20) // 19]
    ]
    asked: list[Request] = []
    ends: list[Outcome | Exception] = []

    async def caller(process: Acceptor, wishes: list[tuple[str, str, int]], bulk: int) -> None:
        for start in range(0, len(wishes), bulk):
            some = [request(*wish) for wish in wishes[start : start + bulk]]
            if bulk == 1:
                found: list[Outcome | Exception] = [await process.accept(some[0])]
            else:
                found = await process.accept_all(some)
            asked.extend(some)
            ends.extend(found)

    async with started(url, PROCESSES) as processes:
        await asyncio.gather(
            *(
                caller(one, chance.sample(wanted, len(wanted)), bulk)
                for one in processes
                for bulk in (1, 40, 150)
            )
        )
    keys, references, payments, jobs, events = await rows(url)
    by_key = {row["name"]: row["payment_id"] for row in keys}
    assert len(by_key) == len(keys) == len(payments)
    assert len({row["name"] for row in references}) == len(references) == len(payments)
    ids = {row["payment_id"] for row in payments}
    for table in (keys, references, jobs, events):
        assert {row["payment_id"] for row in table} == ids
    holders = {row["name"]: row["payment_id"] for row in references}
    created = Counter(end.payment.payment_id for end in ends if isinstance(end, Created))
    assert set(created) == ids
    assert set(created.values()) == {1}
    contents: dict[str, set[bytes]] = {}
    for one in asked:
        contents.setdefault(one.idempotency_key, set()).add(one.fingerprint)
    for one, end in zip(asked, ends, strict=True):
        match end:
            case Created(found):
                assert found == one.payment
                assert by_key[one.idempotency_key] == found.payment_id
            case Replayed(found):
                assert by_key[one.idempotency_key] == found.payment_id
                assert found.merchant_reference == one.payment.merchant_reference
                assert found.amount_minor == one.payment.amount_minor
            case KeyReused():
                assert len(contents[one.idempotency_key]) > 1
            case ReferenceTaken(holder):
                assert holders[one.payment.merchant_reference] == holder
                assert by_key.get(one.idempotency_key) != holder
            case _:
                pytest.fail(f"nobody said {end!r} to a caller who came again")


async def test_who_meets_a_taken_key_costs_the_others_of_the_batch_nothing(
    process: Acceptor, url: str
) -> None:
    first = request("key-1", "order-1")
    assert await process.accept(first) == Created(first.payment)
    assert process._careful == 0
    others = [request(f"key-{number}", f"order-{number}") for number in range(2, 32)]
    again, taken = request("key-1", "order-1"), request("key-x", "order-1")
    ends = await process.accept_all([*others[:15], again, taken, *others[15:]])
    assert ends[15] == Replayed(first.payment)
    assert ends[16] == ReferenceTaken(first.payment.payment_id)
    assert [end for end in ends if isinstance(end, Created)] == [
        Created(one.payment) for one in others
    ]
    assert [len(table) for table in await rows(url)] == [31] * 5


async def test_after_a_taken_key_batches_look_first_for_a_while(
    process: Acceptor, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One unhappy try in many, however often keys come again."""
    monkeypatch.setattr(accept, "CAREFUL_BATCHES", 3)
    used: list[str] = []

    def spying(name: str) -> str:
        used.append(name)
        return STATEMENTS[name]

    monkeypatch.setattr(accept, "SQL", Spy(spying))
    for number in [1, 1, 2, 3, 1, 4, 1]:
        await process.accept(request(f"key-{number}", f"order-{number}"))
    tried = [name for name in used if name.startswith("accept")]
    new, careful = "accept_new", "accept"
    assert tried == [new, new, careful, careful, careful, careful, new, new, careful]
    assert [len(table) for table in await rows(url)] == [4] * 5


STATEMENTS = accept.SQL


class Spy:
    """The statements, and who asks for them."""

    def __init__(self, asked: object) -> None:
        self._asked = asked

    def __getitem__(self, name: str) -> str:
        return self._asked(name)  # type: ignore[operator, no-any-return]


async def test_texts_that_waited_until_their_keys_were_outdated_fail_alone(
    url: str, process: Acceptor
) -> None:
    keyset = new_keyset().reveal()
    bundle = {"data": keyset, "wrapping": keyset, "index": bytes(32)}
    keys = EntityKeys(ENTITY, {1: Secret(msgspec.msgpack.encode(bundle))}, seals_until=0.0)
    wanted = [request(f"key-{number}", f"order-{number}") for number in range(5)]
    stuck = seal_texts(keys, wanted[3].payment.payment_id, Texts("late"), bytes(SALT_BYTES))
    wanted[3] = replace(wanted[3], texts=stuck)
    ends = await process.accept_all(wanted)
    assert [type(end) for end in ends] == [Created, Created, Created, KeysOutdated, Created]
    assert isinstance(ends[3], Exception)
    assert problem_of(ends[3]).code == "vault_unavailable"
    assert len((await rows(url))[2]) == 4, "nothing of it is stored"
