"""Refunds on a real database: what is opened, settled and planned, by whom, and what it leaves."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec
import pytest
from msgspec.structs import replace

from strongroom.clock import ShiftedClock, microseconds_since_epoch
from strongroom.ids import BUCKETS, new_id
from strongroom.payments.claims import ClaimedRefund, RefundSettlement
from strongroom.payments.commands import Commander, Done, Order, RefundWish
from strongroom.payments.engine import Engine
from strongroom.payments.idempotency import fingerprint
from strongroom.payments.journal import _STATE_FIELDS
from strongroom.payments.reads import list_refunds, read_history, read_payments
from strongroom.payments.refund_engine import DISPUTED, RefundDesk
from strongroom.payments.refunds import (
    NOT_FOUND,
    SAME_KEY_WINDOW,
    UNDER_WAY_AFTER,
    Absent,
    Refund,
    RefundAnswer,
    RefundAnswered,
    RefundDecision,
    Refunded,
    Refused,
    Several,
)
from strongroom.payments.states import (
    Answered,
    Approved,
    Call,
    Look,
    NotSent,
    Payment,
    Schedule,
    Send,
    Unknown,
)
from strongroom.work.calls import Calls
from tests.integration.test_journal import Staged, accepted, pool
from tests.unit.examples import AMOUNT, ENTITY, PART

__all__ = ["pool"]
LEASE = timedelta(seconds=25)
GIVEN = Refunded("re_1", "succeeded", PART, "EUR")


class Refunding(Staged):
    """As much of a gateway as opening a refund needs."""

    def refund_parameters(self, payment: Payment, attempt: Any, refund: Refund) -> dict[str, Any]:
        return {"payment_intent": attempt.gateway_object_id, "amount": refund.amount_minor}


class Till(NamedTuple):
    """A payment that was captured, and those who act for its refunds."""

    pool: Any
    clock: ShiftedClock
    payment: Payment
    desk: RefundDesk
    commander: Commander

    async def refund(self, amount_minor: int | None = PART) -> Refund:
        now = self.clock.now()
        wish = RefundWish(
            refund_id=new_id(microseconds_since_epoch(now), ENTITY),
            amount_minor=amount_minor,
            reason="duplicate",
            metadata={"é": "\t"},
            gateway_key="sr_key_refund",
            digest_salt=bytes(16),
            check_amount=lambda *_: None,
        )
        done = await self.commander.carry_out(
            Order(
                legal_entity_id=ENTITY,
                payment_id=self.payment.payment_id,
                idempotency_key=str(wish.refund_id),
                operation="refunds.create",
                fingerprint=fingerprint("POST", "/v1/refunds", {}),
                actor="test",
                at=now,
                wish=wish,
            )
        )
        assert isinstance(done, Done), done
        assert done.refund is not None
        return done.refund

    async def answer(
        self, *answers: tuple[ClaimedRefund, RefundAnswer], asked: Any = "send"
    ) -> list[RefundDecision]:
        """All in one transaction, as the settler writes them."""
        call = Call(operation=asked, started_at=self.clock.now(), duration_ms=1.0, outcome="x")
        return list(
            await self.desk._settle(
                [
                    RefundSettlement(
                        refund=claimed.refund,
                        lease=claimed.lease,
                        answered=RefundAnswered(
                            answer, call, asked, claimed.tries, first=claimed.first
                        ),
                    )
                    for claimed, answer in answers
                ]
            )
        )

    async def disputed(self, minor: int) -> None:
        """A bank has taken so much of the payment meanwhile."""
        payment, _ = await self.stored()
        claimed = replace(payment, disputed_minor=minor).withholding()
        await self.pool.execute(
            "UPDATE payments SET disputed_minor = $1, withheld_minor = $2", minor,
            claimed.withheld_minor,
        )  # fmt: skip

    async def reviews(self) -> set[tuple[str, str]]:
        """What is counted as under review, by lane."""
        rows = await self.pool.fetch("SELECT lane, review FROM reviews")
        return {(row["lane"], row["review"]) for row in rows}

    async def stored(self) -> tuple[Payment, dict[Any, Refund]]:
        [payment] = await read_payments(self.pool, {self.payment.payment_id: ENTITY})
        page = await list_refunds(self.pool, ENTITY, self.payment.payment_id, None, 100)
        return payment, {refund.refund_id: refund for refund in page.refunds}


@pytest.fixture
async def till(pool):
    clock = ShiftedClock()
    await accepted(pool, clock)
    gateways: Any = {"stripe": Refunding()}
    buckets = range(BUCKETS)
    engine = Engine(pool, clock, gateways, actor="worker", lease=LEASE, buckets=buckets)
    engine.start()
    [claimed] = await engine.claim(1)
    call = Call(operation="create", started_at=clock.now(), duration_ms=1.0, outcome="x")
    assert await engine.commit_object_id(claimed, "pi_1", call)
    sent = replace(claimed.attempt, gateway_object_id="pi_1")
    answered = Answered(attempt=sent, answer=Approved(AMOUNT, "EUR"), call=call, asked="send",
                        tries=1)  # fmt: skip
    payment = (await engine.settle(claimed.payment, answered, claimed.lease)).payment
    await engine.drain()
    calls = Calls(clock, timedelta(seconds=10))
    accounts: Any = None
    desk = RefundDesk(pool, gateways, accounts, calls, actor="worker", lease=LEASE, buckets=buckets)
    commander = Commander(pool)
    commander.start()
    yield Till(pool, clock, payment, desk, commander)
    await commander.drain()


async def test_a_refund_is_opened_once_with_what_is_sent(till):
    asked = await till.refund()
    [claimed] = await till.desk.claim(10)
    assert (claimed.effect, claimed.first) == (Send(), True)
    assert claimed.refund.parameters == {"payment_intent": "pi_1", "amount": PART}
    _, stored = await till.stored()
    assert stored == {asked.refund_id: claimed.refund}
    assert await till.desk.claim(10) == []
    till.clock.advance(LEASE)
    [again] = await till.desk.claim(10)  # whoever had it may have sent it
    assert (again.effect, again.first, again.refund) == (Look(), False, claimed.refund)


STORIES: dict[str, list[tuple[str, RefundAnswer]]] = {
    "given back": [("send", GIVEN)],
    "unknown, then found": [("send", Unknown("x")), ("look", Unknown("x")), ("look", GIVEN)],
    "pending, then given back": [("send", replace(GIVEN, status="pending")), ("look", GIVEN)],
    "given back, then failed": [
        ("send", GIVEN),
        ("look", replace(GIVEN, status="failed", why="lost_card")),
    ],
    "refused": [("send", Refused("charge_disputed"))],
    "not sent, then given back": [("send", NotSent("rate_limited")), ("send", GIVEN)],
    "another amount": [("send", replace(GIVEN, amount_minor=PART + 1))],
    "given back twice": [("send", Unknown("x")), ("look", Several(2))],
    "refused, then through all the same": [("send", Refused("x")), ("send", GIVEN)],
}


@pytest.mark.parametrize("story", STORIES)
async def test_events_fold_to_the_row_and_carry_digests(till, story):
    await till.refund()
    [claimed] = await till.desk.claim(10)
    for asked, answer in STORIES[story]:
        await till.answer((claimed, answer), asked=asked)
    history = await read_history(till.pool, ENTITY, till.payment.payment_id)
    payment, refunds = await till.stored()
    [refund] = refunds.values()
    assert [event["version"] for event in history.events] == list(range(1, payment.version + 1))
    folded: dict[str, Any] = {}
    for event in history.events:
        folded |= {n: event["payload"][n] for n in _STATE_FIELDS if n in event["payload"]}
        content = event["payload"]
        assert msgspec.json.decode(msgspec.json.encode(content, order="sorted")) == content
    for name, value in folded.items():
        assert msgspec.to_builtins(getattr(payment, name)) == value
    last = history.events[-1]
    assert bytes(last["row_digest"]) == payment.row_digest()
    assert last["payload"]["refund"]["row_digest"] == refund.row_digest().hex()
    assert last["payload"]["refund"]["status"] == refund.status
    frozen = {("payments", payment.review), ("refunds", refund.review)}
    assert await till.reviews() == {one for one in frozen if one[1]}


async def test_a_settlement_that_runs_again_moves_the_sums_once(till):
    """As after a COMMIT whose answer was lost."""
    await till.refund()
    [claimed] = await till.desk.claim(10)
    for _ in range(3):
        [made] = await till.answer((claimed, GIVEN))
        assert isinstance(made.effect, Schedule)
    payment, _ = await till.stored()
    assert (payment.refunding_minor, payment.refunded_minor) == (0, PART)
    for _ in range(3):
        await till.answer((claimed, replace(GIVEN, status="failed")), asked="look")
    payment, _ = await till.stored()
    assert (payment.refunding_minor, payment.refunded_minor) == (0, 0)


async def test_answers_for_refunds_of_one_payment_in_one_batch_add_up(till):
    for _ in range(4):
        await till.refund()
    claimed = await till.desk.claim(10)
    assert len(claimed) == 4
    objects = [replace(GIVEN, object_id=f"re_{number}") for number in range(3)]
    answers = [*objects, Refused("charge_disputed")]
    await till.answer(*zip(claimed, answers, strict=True))
    payment, refunds = await till.stored()
    assert (payment.refunding_minor, payment.refunded_minor) == (0, 3 * PART)
    assert payment.version == till.payment.version + 8
    found = sorted(refund.status for refund in refunds.values())
    assert found == ["failed", "succeeded", "succeeded", "succeeded"]


async def test_only_who_still_has_the_lease_says_that_nothing_was_sent(till):
    """Another one may have sent it meanwhile: the window of its key began then at the latest."""
    await till.refund()
    [stalled] = await till.desk.claim(10)
    till.clock.advance(LEASE)
    [second] = await till.desk.claim(10)
    [sends] = await till.answer((second, Absent()), asked="look")
    assert sends.effect == Send()  # and dies
    await till.answer((stalled, NotSent("rate_limited")))
    till.clock.advance(timedelta(days=2))
    [third] = await till.desk.claim(10)
    assert (third.effect, third.first) == (Look(), False)
    assert third.refund.opened_at == stalled.refund.opened_at


async def test_a_refusal_heard_late_is_no_end_while_another_send_is_under_way(till):
    """The first one was refused; what another process has sent since may still go through."""
    await till.refund()
    [stalled] = await till.desk.claim(10)
    till.clock.advance(LEASE)
    [second] = await till.desk.claim(10)
    [sends] = await till.answer((second, Absent()), asked="look")
    assert sends.effect == Send()  # and dies
    await till.answer((stalled, Refused("charge_disputed")))
    payment, refunds = await till.stored()
    assert [one.status for one in refunds.values()] == ["outcome_unknown"]
    assert payment.refunding_minor == PART
    till.clock.advance(UNDER_WAY_AFTER)
    [third] = await till.desk.claim(10)
    assert third.effect == Look()
    await till.answer((third, GIVEN), asked="look")
    payment, refunds = await till.stored()
    assert [one.status for one in refunds.values()] == ["succeeded"]
    assert (payment.refunding_minor, payment.refunded_minor) == (0, PART)


@pytest.mark.parametrize("shown", ["pending", "succeeded"])
async def test_what_is_shown_after_all_is_looked_at_to_its_end(till, shown):
    """Under review as not found, and then the answer to its last send is heard."""
    await till.refund()
    [first] = await till.desk.claim(10)
    till.clock.advance(SAME_KEY_WINDOW)
    [look] = await till.desk.claim(10)
    await till.answer((look, Absent()), asked="look")
    _, refunds = await till.stored()
    assert [one.review for one in refunds.values()] == [NOT_FOUND]
    assert await till.reviews() == {("refunds", NOT_FOUND)}
    await till.answer((first, replace(GIVEN, status=shown)))
    till.clock.advance(timedelta(days=1))
    [found] = await till.desk.claim(10)
    assert (found.effect, found.refund.review, found.refund.status) == (Look(), None, shown)
    assert await till.reviews() == set()
    await till.answer((found, GIVEN), asked="look")
    payment, _ = await till.stored()
    assert (payment.refunding_minor, payment.refunded_minor) == (0, PART)


async def test_what_stays_not_found_leaves_no_job(till):
    await till.refund()
    await till.desk.claim(10)
    till.clock.advance(SAME_KEY_WINDOW)
    [look] = await till.desk.claim(10)
    await till.answer((look, Absent()), asked="look")
    till.clock.advance(UNDER_WAY_AFTER)
    assert await till.desk.claim(10) == []
    assert await till.pool.fetchval("SELECT count(*) FROM refund_jobs") == 0


async def test_who_has_the_lease_opens_it_anew_when_nothing_was_sent(till):
    await till.refund()
    [first] = await till.desk.claim(10)
    [made] = await till.answer((first, NotSent("rate_limited")))
    assert isinstance(made.effect, Schedule)
    till.clock.advance(timedelta(days=2))
    [again] = await till.desk.claim(10)
    assert (again.effect, again.first) == (Send(), True)
    assert again.refund.opened_at > first.refund.opened_at


@pytest.mark.parametrize("disputed", [AMOUNT, AMOUNT - PART + 1, AMOUNT - PART])
async def test_what_a_bank_has_taken_meanwhile_is_not_sent(till, disputed):
    """The refund was accepted before the dispute; both together would give back too much."""
    await till.refund()
    await till.disputed(disputed)
    [claimed] = await till.desk.claim(10)
    assert (claimed.effect, claimed.first) == (Send(), True)
    assert claimed.is_claimed_by_bank is (disputed > AMOUNT - PART)
    if not claimed.is_claimed_by_bank:
        return
    assert claimed.refund.opened_at is None
    till.clock.advance(LEASE)  # whoever had it was killed
    [claimed] = await till.desk.claim(10)
    assert (claimed.effect, claimed.first, claimed.is_claimed_by_bank) == (Send(), True, True)
    nobody: Any = SimpleNamespace(refund=None)  # who is not asked
    answered = await till.desk._call(claimed.effect, nobody, nobody, claimed)
    assert answered.call.outcome == DISPUTED
    await till.answer((claimed, answered.answer))
    payment, refunds = await till.stored()
    assert [(one.status, one.status_reason) for one in refunds.values()] == [("failed", DISPUTED)]
    assert (payment.refunding_minor, payment.refunded_minor) == (0, 0)
    assert payment.withheld_minor == disputed
    assert payment.refundable_minor == AMOUNT - disputed


async def test_what_is_set_aside_is_what_the_claim_before_it_met_first(till):
    """One refund that breaks its claim must not have others set aside in its place."""
    await till.refund()
    await till.desk.claim(0)
    order = list(till.desk._buckets)
    assert sorted(order) == list(range(BUCKETS))
    assert len(await till.desk.set_aside()) == 1
    assert till.desk._buckets == order
    await till.desk.claim(1)
    assert till.desk._buckets != order  # no bucket's backlog comes always first


async def test_what_is_not_found_is_not_sent_again_once_a_bank_has_taken_it(till):
    await till.refund()
    await till.desk.claim(10)
    till.clock.advance(LEASE)
    await till.disputed(AMOUNT)
    [look] = await till.desk.claim(10)
    assert look.effect == Look()
    [made] = await till.answer((look, Absent()), asked="look")
    assert isinstance(made.effect, Schedule)
    till.clock.advance(SAME_KEY_WINDOW)
    [look] = await till.desk.claim(10)
    [made] = await till.answer((look, Absent()), asked="look")
    assert made.refund.review == NOT_FOUND
