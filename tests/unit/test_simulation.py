"""One payment through crashes, lost and late answers, stalled senders and jumping clocks."""

from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from strongroom.payments.states import (
    FINAL,
    Answered,
    Call,
    CancelAsked,
    Capture,
    CaptureAsked,
    Declined,
    InstrumentBrought,
)
from strongroom.payments.ways import Way
from tests.plugins.short import share
from tests.unit.examples import (
    ACCOUNT,
    AMOUNT,
    BACKUP,
    ELSEWHERE,
    OTHER_ACCOUNT,
    PART,
    THIRD_ACCOUNT,
)
from tests.unit.fake_gateway import CARDS, FAULTS, FakeGateway
from tests.unit.world import Job, World

ROUNDS_MAX = 400
STALLED_MAX = 4
PUT_OFF_MAX = timedelta(minutes=1)
"""Leases and waits are of seconds; a hold is looked at an hour before its end."""
STARTS = ("automatic", "manual", "held", "held")
ALL_FAULTS = (*FAULTS, "withheld")
CAN_CHARGE = ("requires_action", "processing", "requires_capture", "succeeded")


def finish(world: World) -> None:
    """From now on all answer, nobody dies, no line rests, and time passes."""
    world.resting.clear()
    if world.claiming is not None:
        world.end_claim()
    for _ in range(ROUNDS_MAX):
        if world.job is None and not world.senders:
            break
        world.claim()
        while world.senders:
            world.step(world.senders[0], "none")
        wait = world.job.run_at - world.now if world.job is not None else timedelta()
        world.pass_time(max(30, wait.total_seconds()))
        world.gateway.network_decides(world.now)
    for late in world.late:
        world.settle(*late)


class OnePayment(RuleBasedStateMachine):
    """Whatever happens in whatever order; at the end the gateway becomes reliable."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.jumped_back = timedelta()
        self.asked: set[int | None] = set()
        """Amounts that captures were accepted for."""

    @initialize(
        card=st.sampled_from(CARDS),
        start=st.sampled_from(STARTS),
        hold_lag=st.sampled_from([timedelta(), timedelta(days=2)]),
        ways=st.sampled_from([(), (BACKUP,), (ELSEWHERE,), (ELSEWHERE, BACKUP)]),
        elsewhere=st.sampled_from(CARDS),
    )
    def begins(
        self, card: str, start: str, hold_lag: timedelta, ways: tuple[Way, ...], elsewhere: str
    ) -> None:
        capture: Capture = "automatic" if start == "automatic" else "manual"
        self.world.payment = replace(self.world.payment, capture=capture, ways=ways)
        self.world.gateway = FakeGateway(
            "good" if start == "held" else card, manual=capture == "manual"
        )
        self.world.gateway.hold_lag = hold_lag
        self.world.gateway.elsewhere = elsewhere
        if start == "held":
            self.world.claim()
            while self.world.senders:
                self.world.step(self.world.senders[0], "none")
            assert self.world.payment.status == "authorized"

    @precondition(lambda self: len(self.world.senders) < STALLED_MAX)
    @rule()
    def claim(self) -> None:
        self.world.claim()

    @precondition(lambda self: len(self.world.senders) < STALLED_MAX)
    @rule()
    def begin_claim(self) -> None:
        self.world.begin_claim()

    @precondition(lambda self: self.world.claiming)
    @rule()
    def end_claim(self) -> None:
        self.world.end_claim()

    @precondition(lambda self: self.world.senders)
    @rule(data=st.data(), fault=st.sampled_from(ALL_FAULTS), heard=st.booleans())
    def step(self, data: st.DataObject, fault: str, heard: bool) -> None:
        sender = data.draw(st.sampled_from(self.world.senders))
        self.world.step(sender, fault, heard_commit=heard)

    @precondition(lambda self: self.world.senders)
    @rule(steps=st.integers(1, 6))
    def all_goes_well(self, steps: int) -> None:
        for _ in range(steps):
            if self.world.senders:
                self.world.step(self.world.senders[-1], "none")

    @precondition(lambda self: self.world.senders)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        self.world.senders.remove(data.draw(st.sampled_from(self.world.senders)))

    @precondition(lambda self: self.world.late)
    @rule(data=st.data())
    def late_answer(self, data: st.DataObject) -> None:
        heard = data.draw(st.sampled_from(self.world.late))
        self.world.late.remove(heard)
        self.world.settle(*heard)

    @precondition(lambda self: not self.world.claiming)
    @rule(amount=st.sampled_from([None, PART, AMOUNT - 1]))
    def capture(self, amount: int | None) -> None:
        if self.world.command(CaptureAsked(amount)):
            self.asked.add(self.world.payment.capture_minor)

    @precondition(lambda self: not self.world.claiming)
    @rule(really=st.integers(0, 3))
    def cancel(self, really: int) -> None:
        if really == 0:
            self.world.command(CancelAsked())

    @precondition(lambda self: self.world.job and len(self.world.senders) < STALLED_MAX)
    @rule()
    def what_is_planned_begins(self) -> None:
        assert self.world.job is not None
        wait = self.world.job.run_at - self.world.now
        self.world.pass_time(max(0, wait.total_seconds()))
        self.world.claim()

    @precondition(lambda self: self.world.payment.status == "authorized" and not self.world.senders)
    @rule(cancels=st.booleans(), fault=st.sampled_from(ALL_FAULTS))
    def asked_while_it_is_looked_at(self, cancels: bool, fault: str) -> None:
        self.what_is_planned_begins()
        for sender in self.world.senders:
            self.world.step(sender, fault)
        if not self.world.claiming:
            self.cancel(0) if cancels else self.capture(PART)
        for sender in list(self.world.senders):
            self.world.step(sender, "none")

    @rule(rests=st.booleans(), account=st.sampled_from([ACCOUNT, OTHER_ACCOUNT]))
    def a_line_turns(self, rests: bool, account: UUID) -> None:
        (self.world.resting.add if rests else self.world.resting.discard)(account)

    @precondition(
        lambda self: self.world.payment.status in ("requires_payment_method", "requires_action")
    )
    @rule(account=st.sampled_from([ACCOUNT, THIRD_ACCOUNT]))
    def an_instrument_is_brought(self, account: UUID) -> None:
        if not self.world.claiming:
            self.world.command(InstrumentBrought("stripe", account, "pm_brought", None))

    @rule(seconds=st.sampled_from([1, 5, 30, 30, 900, 3600, 21 * 3600, 7 * 24 * 3600, -60]))
    def time_passes(self, seconds: int) -> None:
        self.world.pass_time(seconds)
        self.jumped_back += timedelta(seconds=max(0, -seconds))

    @rule(well=st.booleans())
    def customer_acts(self, well: bool) -> None:
        self.world.gateway.customer_acts(self.world.now, well=well)

    @invariant()
    def at_most_one_charge(self) -> None:
        assert self.world.gateway.charges() <= 1

    @invariant()
    def what_is_called_failed_was_not_charged(self) -> None:
        if self.world.payment.status in ("failed", "canceled"):
            assert self.world.gateway.charges() == 0

    @invariant()
    def what_is_canceled_can_take_no_more(self) -> None:
        if self.world.payment.status in ("failed", "canceled"):
            statuses = {intent.status for intent in self.world.gateway.intents.values()}
            assert statuses.isdisjoint(CAN_CHARGE)

    @invariant()
    def what_is_called_succeeded_was_charged(self) -> None:
        if self.world.payment.status == "succeeded":
            assert self.world.gateway.charges() == 1

    @invariant()
    def what_was_taken_is_what_was_asked_for(self) -> None:
        world = self.world
        assert world.gateway.taken() in (0, AMOUNT, *self.asked)
        if world.payment.status == "succeeded":
            assert world.payment.captured_minor == world.gateway.taken()

    @invariant()
    def what_is_under_way_is_not_put_off(self) -> None:
        world = self.world
        if world.payment.status == "processing" and world.payment.review is None:
            assert world.job is not None
            assert world.job.run_at <= world.now + PUT_OFF_MAX + self.jumped_back

    @invariant()
    def a_reference_is_free_only_at_the_end(self) -> None:
        if self.world.released:
            assert self.world.payment.status in ("failed", "canceled")

    @invariant()
    def something_is_planned_until_the_end(self) -> None:
        if self.world.job is None:
            assert self.world.payment.status in FINAL

    @invariant()
    def at_most_one_attempt_is_open_at_the_gateway(self) -> None:
        intents = self.world.gateway.intents.values()
        assert sum(intent.status in CAN_CHARGE for intent in intents) <= 1

    @invariant()
    def no_new_attempt_while_the_one_before_may_be_open(self) -> None:
        world = self.world
        for number, one in world.attempts.items():
            assert number <= world.payment.attempt_no
            if number < world.payment.attempt_no:
                assert one.state in ("canceled", "not_sent", "declined")
                made = world.gateway.intents.get(one.gateway_object_id or "")
                assert made is None or made.status == "canceled"
                if one.state != "declined":
                    assert (one.state == "not_sent") == (one.gateway_object_id is None)

    def teardown(self) -> None:
        world = self.world
        finish(world)
        if world.payment.review is not None:
            # One capture was refused and got through all the same while another one was asked for.
            assert world.payment.review == "amount_mismatch"
            assert len(self.asked) > 1
            return
        assert world.payment.status in FINAL
        assert (world.payment.status == "succeeded") == (world.gateway.charges() == 1)


def test_at_most_one_charge_and_always_an_end():
    run_state_machine_as_test(
        OnePayment,
        settings=settings(max_examples=share(600, 100), stateful_step_count=40, deadline=None),
    )


@pytest.mark.parametrize("card", ["good", "declined"])
def test_a_stale_failure_to_make_the_object_does_not_open_a_second_attempt(card):
    """One sender hears 500 and cannot write it before the next one has taken the money."""
    world = World(gateway=FakeGateway(card))
    world.claim()
    stale = world.senders[0]
    world.step(stale, "500")
    world.pass_time(26)
    world.claim()
    quick = world.senders[1]
    for _ in range(3):  # make the object, commit its id, confirm it
        world.step(quick, "none")
    world.step(stale, "none")
    world.pass_time(2)  # the quick one has not written its answer yet
    finish(world)
    assert world.gateway.charges() == (1 if card == "good" else 0)
    assert world.payment.status == ("succeeded" if card == "good" else "failed")
    assert len(world.gateway.intents) == 1


def test_a_stale_refusal_to_make_the_object_does_not_fail_what_was_charged():
    world = World()
    world.claim()
    stale = world.senders[0]
    refusal = Declined("config_error", "invalid_request", object_open=False)
    world.pass_time(26)
    world.claim()
    quick = world.senders[1]
    for _ in range(3):
        world.step(quick, "none")
    call = Call(operation="create", started_at=world.now, duration_ms=0.0, outcome="x")
    stale.answer = Answered(attempt=stale.attempt, answer=refusal, call=call, asked="send", tries=1)
    world.step(stale, "none")
    assert world.payment.status == "processing"
    finish(world)
    assert (world.payment.status, world.gateway.charges()) == ("succeeded", 1)


def test_the_world_can_charge_twice_when_a_rule_is_broken():
    """The simulation is worth something: it notices a second attempt beside an open one."""
    machine = OnePayment()
    world = machine.world
    world.claim()
    for _ in range(3):
        world.step(world.senders[0], "none")
    # The number rises though the first attempt is open.
    world.payment = replace(world.payment, attempt_no=2)
    world.job, world.senders = Job(world.now, tries=1), []
    world.claim()
    for _ in range(3):
        world.step(world.senders[0], "none")
    for broken in (
        machine.at_most_one_charge,
        machine.at_most_one_attempt_is_open_at_the_gateway,
        machine.no_new_attempt_while_the_one_before_may_be_open,
    ):
        with pytest.raises(AssertionError):
            broken()


def test_what_was_opened_before_all_the_same_is_left_to_the_next_claim():
    """A job that was made anew does not know that its payment was claimed before."""
    world = World()
    world.claim()
    for _ in range(3):
        world.step(world.senders[0], "none")
    world.senders, world.job = [], Job(world.now)
    world.claim()
    assert (world.senders, world.attempts[1].gateway_object_id) == ([], "pi_1")
    finish(world)
    assert (world.payment.status, world.gateway.charges()) == ("succeeded", 1)


def test_a_claim_gives_up_no_attempt_that_got_an_id_meanwhile():
    world = World()
    world.claim()
    first = world.senders[0]
    world.step(first, "none")
    world.pass_time(16 * 60)
    assert world.begin_claim()
    world.step(first, "none")  # its id is committed while the other one decides to cancel
    world.end_claim()
    assert (world.payment.status, world.senders) == ("processing", [])
    finish(world)
    assert (world.payment.status, world.gateway.charges()) == ("canceled", 0)


def test_an_answer_without_the_lease_does_not_plan_for_the_one_who_has_it():
    world = World(gateway=FakeGateway("slow"))
    world.claim()
    slow = world.senders[0]
    for _ in range(3):
        world.step(slow, "none")
    world.pass_time(26)
    world.claim()
    held = world.job
    world.step(slow, "none")
    assert world.job == held
    other = world.senders[0]
    world.step(other, "none")
    world.step(other, "none")
    assert not world.job.held
    assert world.job.run_at < held.run_at
