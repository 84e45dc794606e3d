"""Looks at disputes on a real database: what is not shown, and what was not taken."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from strongroom.clock import ShiftedClock
from strongroom.database import connect_pool, writing
from strongroom.gateways.breaker import WINDOW_CALLS
from strongroom.ids import BUCKETS
from strongroom.payments.states import Call, Unknown
from strongroom.settlement.desk import AGAIN_SECONDS, UNSEEN_TRIES, SettlementDesk
from strongroom.settlement.disputes import Seen
from strongroom.settlement.looks import AT_REST, Noun, Told, ask_for_looks
from strongroom.settlement.payouts import ItemSeen, PayoutSeen
from strongroom.settlement.port import NoSuchObject, NotTaken, PayoutShown
from strongroom.work.calls import Calls
from tests.integration.conftest import NOW, Deployment

OBJECT = "dp_1"
MINUTE = timedelta(minutes=1)


class Showing:
    """A gateway that shows what it is told to."""

    def __init__(self) -> None:
        self.shown: Any = NoSuchObject()
        self.payout: Any = NoSuchObject()
        self.told: Any = Unknown("no_answer")
        self.asked = 0

    async def look_at_dispute(self, _account: Any, _object_id: str) -> tuple[Any, Call]:
        self.asked += 1
        return self.shown, Call(operation="look", started_at=NOW, duration_ms=1.0, outcome="x")

    async def give_in(self, _account: Any, _id: str, _key: str) -> tuple[Any, Call]:
        return self.told, Call(operation="tell", started_at=NOW, duration_ms=1.0, outcome="x")

    async def look_at_payout(self, _account: Any, _id: str, _known: Any) -> tuple[Any, Call]:
        return self.payout, Call(operation="look", started_at=NOW, duration_ms=1.0, outcome="x")


class Office:
    """One dispute that a webhook told of, and who looks at it."""

    def __init__(self, deployment: Deployment, pool: asyncpg.Pool, owner: asyncpg.Pool) -> None:
        self.deployment, self.pool, self.owner = deployment, pool, owner
        self.clock, self.gateway = ShiftedClock(), Showing()
        self.calls = Calls(self.clock, timedelta(seconds=10))
        gateways: Any = {"stripe": self.gateway}
        keyring: Any = None
        self.desk = SettlementDesk(pool, gateways, self.calls, keyring, range(BUCKETS))

    @property
    def entity(self) -> UUID:
        return self.deployment.ours.legal_entity_id

    async def told(
        self, noun: Noun = "dispute", object_id: str = OBJECT, event_id: str | None = None
    ) -> None:
        """A webhook tells of it."""
        account = await self.owner.fetchval(
            "SELECT gateway_account_id FROM gateway_accounts WHERE legal_entity_id = $1",
            self.entity,
        )
        told = Told(self.entity, account, noun, object_id, event_id)
        async with writing(self.pool, [self.entity]) as connection:
            await ask_for_looks(connection, [told], self.clock.now())

    async def work(self) -> None:
        """What is due, to its end."""
        await self.desk.begin(10)
        await asyncio.gather(*self.desk._under_way)

    async def ask_now(self) -> None:
        """It is looked at at once."""
        await self.told()
        await self.work()

    async def give_in(self) -> None:
        """The merchant gives the dispute up; nothing is sent yet."""
        await self.owner.execute(
            "INSERT INTO dispute_answers (legal_entity_id, answer_id, dispute_id, kind, submits, "
            "status, gateway_key, created_at, updated_at) SELECT legal_entity_id, dispute_id, "
            "dispute_id, 'accept', true, 'processing', 'k', $1, $1 FROM disputes",
            self.clock.now(),
        )

    async def answer(self) -> asyncpg.Record:
        """What became of it."""
        [row] = await self.owner.fetch("SELECT * FROM dispute_answers")
        return row

    async def look(self, object_id: str = OBJECT) -> timedelta:
        """One look; how long the next one waits."""
        await self.work()
        run_at = await self.owner.fetchval(
            "SELECT run_at FROM settlement_looks WHERE gateway_object_id = $1", object_id
        )
        wait: timedelta = run_at - self.clock.now()
        self.clock.advance(wait)
        return wait

    def seen(self, **fields: Any) -> Seen:
        shown: dict[str, Any] = {
            "object_id": OBJECT, "intent_id": "pi_1", "payment_id": self.deployment.ours.payment_id,
            "attempt_no": 1, "status": "needs_response", "amount_minor": 1, "currency": "EUR",
            "reason": "fraudulent", "evidence_due_by": None, "has_evidence": False,
            "submissions": 0, "opened_at": NOW,
        }  # fmt: skip
        return Seen(**(shown | fields))

    async def captured(self) -> None:
        """The payment that it is of was taken."""
        await self.owner.execute(
            "UPDATE payments SET status = 'succeeded', captured_minor = 1 WHERE payment_id = $1",
            self.deployment.ours.payment_id,
        )
        await self.named("pi_1")

    async def named(self, object_id: str | None) -> None:
        """What the gateway calls our attempt."""
        await self.owner.execute(
            "UPDATE attempts SET gateway_object_id = $2 WHERE payment_id = $1",
            self.deployment.ours.payment_id, object_id,
        )  # fmt: skip

    async def disputes(self) -> list[str]:
        rows = await self.owner.fetch("SELECT status FROM disputes")
        return [row["status"] for row in rows]


@pytest.fixture
async def office(deployment: Deployment) -> AsyncIterator[Office]:
    urls = deployment.url("worker"), deployment.owner_url
    pools = [await connect_pool(url, size_max=3, application="test") for url in urls]
    office = Office(deployment, *pools)
    office.calls.start()
    await office.told()
    yield office
    await office.calls.close()
    for pool in pools:
        await pool.close()


async def test_what_was_shown_before_is_asked_for_again_however_often_it_is_not_there(
    office: Office,
) -> None:
    """Keys of another account, entered by mistake, must not end all looks for a year."""
    await office.captured()
    office.gateway.shown = office.seen()
    await office.look()
    assert await office.disputes() == ["needs_response"]
    office.gateway.shown = NoSuchObject()
    waits = [await office.look() for _ in range(len(AGAIN_SECONDS) + 4)]
    assert max(waits) < 16 * MINUTE
    office.gateway.shown = office.seen(status="won")
    await office.look()
    assert await office.disputes() == ["won"]


async def test_what_was_never_shown_rests_once_it_is_not_new_any_more(office: Office) -> None:
    waits = [await office.look() for _ in range(UNSEEN_TRIES)]
    assert max(waits) < MINUTE
    assert await office.look() > AT_REST - MINUTE


async def test_a_dispute_that_is_shown_a_little_late_is_not_missed(office: Office) -> None:
    await office.captured()
    await office.look()
    office.gateway.shown = office.seen()
    await office.look()
    assert await office.disputes() == ["needs_response"]


async def test_one_of_an_attempt_whose_name_is_not_known_yet_waits_for_it(office: Office) -> None:
    office.gateway.shown = office.seen()
    assert max([await office.look() for _ in range(8)]) < 16 * MINUTE
    assert await office.disputes() == []
    await office.captured()
    await office.look()
    assert await office.disputes() == ["needs_response"]


async def test_one_of_an_attempt_that_nobody_looks_for_any_more_is_no_wait_without_end(
    office: Office,
) -> None:
    """A sale that was not found in time waits for a person, and its name stays unknown."""
    await office.owner.execute(
        "UPDATE payments SET review = 'attempt_not_found' WHERE payment_id = $1",
        office.deployment.ours.payment_id,
    )
    office.gateway.shown = office.seen()
    assert await office.look() > AT_REST - MINUTE


async def test_what_is_paid_out_may_be_known_as_ours_only_later(office: Office) -> None:
    """The payout's look came before that of the dispute which it is made of."""
    await office.captured()
    items = [
        ItemSeen(
            item_id=f"txn_{source}", kind="adjustment", amount_minor=-1, fee_minor=0,
            currency="EUR", source_id=source,
        )
        for source in (OBJECT, "of_others")
    ]  # fmt: skip
    office.gateway.payout = PayoutShown(
        PayoutSeen(
            object_id="po_1", status="paid", status_reason=None, amount_minor=-2, currency="EUR",
            arrives_at=office.clock.now(), opened_at=NOW,
        ),
        tuple(items),
    )  # fmt: skip
    tied: list[str] = []
    for noun in ("payout", "dispute", "payout"):
        object_id = {"payout": "po_1", "dispute": OBJECT}[noun]
        office.gateway.shown = office.seen() if noun == "dispute" else NoSuchObject()
        await office.told(noun, object_id)
        await office.work()
        rows = await office.owner.fetch(
            "SELECT gateway_source FROM payout_items WHERE dispute_id IS NOT NULL"
        )
        tied = [row["gateway_source"] for row in rows]
    assert tied == [OBJECT]
    assert await office.owner.fetchval("SELECT count(*) FROM payout_items") == len(items)


async def test_a_gateway_that_does_not_answer_is_not_waited_for_again_and_again(
    office: Office,
) -> None:
    """Sixteen looks at once are made for all accounts of all entities."""
    office.gateway.shown = Unknown("no_answer")
    for _ in range(WINDOW_CALLS):
        await office.look()
    asked = office.gateway.asked
    for _ in range(20):
        await office.work()
        office.clock.advance(16 * MINUTE)
    assert office.gateway.asked <= asked + 1
    assert asked <= WINDOW_CALLS


@pytest.mark.parametrize("waited", [MINUTE, 6 * MINUTE])
async def test_a_refusal_is_believed_where_nothing_else_can_be_under_way(
    office: Office, waited: timedelta
) -> None:
    """Else one lost answer keeps every other out, past the bank's deadline."""
    await office.captured()
    office.gateway.shown = office.seen()
    await office.look()
    await office.give_in()
    office.gateway.told = Unknown("no_answer")
    await office.ask_now()
    assert (await office.answer())["opened_at"] is not None
    office.clock.advance(waited)
    office.gateway.told = NotTaken("not_open")
    await office.ask_now()  # as a webhook that comes meanwhile has it
    ended = waited > 5 * MINUTE
    found = await office.answer()
    assert found["status"] == ("refused" if ended else "processing")
    assert found["status_reason"] == ("not_open" if ended else None)


async def test_the_first_refusal_is_believed(office: Office) -> None:
    await office.captured()
    office.gateway.shown = office.seen()
    await office.look()
    await office.give_in()
    office.gateway.told = NotTaken("not_open")
    await office.ask_now()
    assert (await office.answer())["status"] == "refused"


async def test_keys_of_another_account_raise_the_alarm_where_a_webhook_told_of_it(
    office: Office,
) -> None:
    await office.captured()
    office.gateway.shown = office.seen()
    await office.look()
    office.gateway.shown = NoSuchObject()
    await office.told(event_id="evt_1")
    for _ in range(UNSEEN_TRIES + 3):
        await office.look()
    rows = await office.owner.fetch("SELECT kind, subject, reason FROM alarms")
    assert [tuple(row) for row in rows] == [("webhook_mismatched", "evt_1", "other_object")]
