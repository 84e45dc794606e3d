"""Refunds of one payment through crashes, lost and late answers, stalls and refusals."""

from datetime import timedelta

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

from strongroom.payments.refunds import AFTER_FAILED, NOT_FOUND, SAME_KEY_WINDOW, Refund
from tests.plugins.short import share
from tests.unit.refund_examples import sums_of
from tests.unit.refund_world import CAPTURED, FAULTS, FakeRefunds, Given, RefundWorld
from tests.unit.world import LEASE

ROUNDS_MAX = 600
STALLED_MAX = 5


def finish(world: RefundWorld) -> None:
    """From now on all answer, nobody dies, and time passes."""
    for _ in range(ROUNDS_MAX):
        if not world.jobs and not world.senders:
            break
        world.claim()
        while world.senders:
            world.step(world.senders[0], "none")
        for late in list(world.late):
            world.settle(*late[:3])
        world.late.clear()
        for one in world.gateway.given:
            if one.status == "pending":
                one.status = "succeeded"
        due = min((job.run_at for job in world.jobs.values()), default=world.now)
        world.pass_time(max(due - world.now, timedelta(minutes=10)))


class Refunds(RuleBasedStateMachine):
    """Whatever happens in whatever order; at the end the gateway becomes reliable."""

    def __init__(self) -> None:
        super().__init__()
        self.world = RefundWorld()

    @initialize(
        begins_as=st.sampled_from(["succeeded", "succeeded", "pending"]),
        lag=st.sampled_from([timedelta(), timedelta(minutes=5)]),
        amount=st.sampled_from([None, 600]),
    )
    def begins(self, begins_as, lag: timedelta, amount: int | None) -> None:
        self.world.gateway = FakeRefunds(begins_as, lag)
        self.world.ask(amount)

    @rule(amount=st.sampled_from([None, 1, 300, 600, CAPTURED]))
    def ask(self, amount: int | None) -> None:
        self.world.ask(amount)

    @precondition(lambda self: len(self.world.senders) < STALLED_MAX)
    @rule()
    def claim(self) -> None:
        self.world.claim()

    @precondition(lambda self: self.world.senders)
    @rule(data=st.data(), fault=st.sampled_from(FAULTS))
    def step(self, data: st.DataObject, fault: str) -> None:
        self.world.step(data.draw(st.sampled_from(self.world.senders)), fault)

    @precondition(lambda self: self.world.senders)
    @rule(steps=st.integers(1, 4))
    def all_goes_well(self, steps: int) -> None:
        for _ in range(steps):
            if self.world.senders:
                self.world.step(self.world.senders[-1], "none")

    @precondition(lambda self: self.world.senders)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        self.world.senders.remove(data.draw(st.sampled_from(self.world.senders)))

    @precondition(lambda self: 0 < len(self.world.senders) < STALLED_MAX)
    @rule(fault=st.sampled_from(FAULTS))
    def another_takes_over(self, fault: str) -> None:
        """Whoever is at it stalls past the lease; the next one looks, sends, and hears this."""
        stalled = len(self.world.senders)
        self.world.pass_time(LEASE)
        self.world.claim()
        for fault_now in ("none", "none", fault, "none"):
            for sender in self.world.senders[stalled:]:
                self.world.step(sender, fault_now)

    @precondition(lambda self: self.world.late)
    @rule(data=st.data())
    def late_answer(self, data: st.DataObject) -> None:
        heard = data.draw(st.sampled_from(self.world.late))
        self.world.late.remove(heard)
        self.world.settle(*heard[:3])

    @rule(seconds=st.sampled_from([1, 1, 5, 5, 30, 30, 60, 60, 600, 3600, 21 * 3600, 144 * 3600]))
    def time_passes(self, seconds: int) -> None:
        self.world.pass_time(timedelta(seconds=seconds))

    @precondition(lambda self: any(one.status != "failed" for one in self.world.gateway.given))
    @rule(data=st.data(), well=st.booleans())
    def the_bank_decides(self, data: st.DataObject, well: bool) -> None:
        given = [one for one in self.world.gateway.given if one.status != "failed"]
        data.draw(st.sampled_from(given)).status = "succeeded" if well else "failed"

    @rule(amount=st.sampled_from([0, 300, CAPTURED, CAPTURED + 500]))
    def banks_dispute(self, amount: int) -> None:
        """So much is disputed from now on, as settlement/disputes.py writes it."""
        before = self.world.payment
        changed = before.changed(self.world.now, disputed_minor=amount)
        self.world.payment = changed.withholding()

    @invariant()
    def as_much_as_is_left_is_withheld_of_what_is_disputed(self) -> None:
        of = self.world.payment
        assert 0 <= of.withheld_minor == min(of.disputed_minor, of.left_minor)
        assert of.refundable_minor >= 0

    @invariant()
    def sums_are_those_of_the_refunds(self) -> None:
        of = self.world.payment
        assert (of.refunding_minor, of.refunded_minor) == sums_of(*self.world.refunds)
        assert 0 <= of.refunding_minor + of.refunded_minor <= CAPTURED

    @invariant()
    def each_is_given_back_once(self) -> None:
        numbers = [one.number for one in self.world.gateway.given]
        assert len(numbers) == len(set(numbers))

    @invariant()
    def no_more_is_asked_for_than_was_captured(self) -> None:
        """Unless one that was refused got through, which nobody could know."""
        if self.world.gateway.over_asked:
            assert any(
                self.at_gateway(number) is not None and one.status == "failed"
                for number, one in enumerate(self.world.refunds)
            )

    @invariant()
    def something_is_planned_until_the_end(self) -> None:
        for number, one in enumerate(self.world.refunds):
            if one.status in ("processing", "pending", "outcome_unknown") and not one.review:
                assert number in self.world.jobs

    @invariant()
    def what_succeeded_was_given_back(self) -> None:
        for number, one in enumerate(self.world.refunds):
            if one.status == "succeeded":
                assert self.at_gateway(number) is not None

    def at_gateway(self, number: int) -> Given | None:
        found = [one for one in self.world.gateway.given if one.number == number]
        return found[0] if found else None

    def teardown(self) -> None:
        finish(self.world)
        assert not self.world.jobs
        for number, one in enumerate(self.world.refunds):
            self.ended(one, self.at_gateway(number))

    def ended(self, one: Refund, given: Given | None) -> None:
        """Both sides tell the same, or a person knows that they do not."""
        there = None if given is None else given.status
        if one.review == NOT_FOUND:
            assert one.opened_at is not None
            assert self.world.now >= one.opened_at + SAME_KEY_WINDOW
            assert (one.status, there) == ("outcome_unknown", None)
        elif one.review is not None:
            assert one.review == AFTER_FAILED
            assert given is not None
        elif one.status == "succeeded":
            # Whatever fails after the last look is the business of a webhook.
            assert there == "succeeded" or self.world.now > one.created_at + timedelta(days=30)
        else:
            assert one.status == "failed"
            assert there in (None, "failed")


def test_each_refund_once_and_never_more_than_was_captured():
    run_state_machine_as_test(
        Refunds,
        settings=settings(max_examples=share(400, 80), stateful_step_count=40, deadline=None),
    )
