"""Whatever is lost, late or doubled, a sale in one call takes money once.

A small world: senders that stall and die, requests that arrive late or twice, a search that lags,
and a database that lets one decision through for each version of the payment.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from strongroom.payments import decide as decide_module
from strongroom.payments import sales
from strongroom.payments.decide import decide
from strongroom.payments.states import (
    Answer,
    Answered,
    Approved,
    Attempt,
    CancelAsked,
    Canceled,
    CancelObject,
    Declined,
    Due,
    Look,
    NotPossible,
    NotSent,
    NotShown,
    Open,
    Payment,
    Rest,
    Schedule,
    Send,
    Unknown,
    Withheld,
)
from tests.plugins.short import share
from tests.unit.examples import AMOUNT, START, payment
from tests.unit.test_sales import LEASE, REFUSED, SALE, heard


@dataclass
class Sender:
    """A worker's task: what it saw, and what it is about to do."""

    payment: Payment
    attempt: Attempt
    effect: Any
    lease: int
    first: bool


@dataclass
class Gateway:
    """Transactions by key; those of `seen` are found by a search. `taken` counts charges."""

    card: str = "good"
    status: dict[str, str] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    taken: int = 0

    def sell(self, key: str) -> tuple[Answer, str]:
        if key not in self.status:
            self.status[key] = "taken" if self.card == "good" else "declined"
            self.taken += self.card == "good"
        return self.read(key)

    def void(self, key: str) -> tuple[Answer, str]:
        if self.status[key] == "taken":
            self.status[key] = "voided"
        return self.read(key)

    def read(self, key: str) -> tuple[Answer, str]:
        answers: dict[str, Answer] = {
            "taken": Approved(AMOUNT, "EUR"),
            "declined": Declined("expired_card", "2004", object_open=False),
            "voided": Canceled(),
        }
        return answers[self.status[key]], f"tr_{key}"

    def holds(self, key: str) -> bool:
        return self.status.get(key) == "taken"


FAULTS = ("none", "lost_before", "lost_after", "429", "refused", "arrives_late", "withheld")


class OneSale(RuleBasedStateMachine):
    """One payment, senders that overlap, and every order of what can happen."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.payment, self.gateway = START, payment(version=1), Gateway()
        self.attempts: dict[int, Attempt] = {}
        self.run_at, self.held, self.lease = START, False, 0
        self.senders: list[Sender] = []
        self.on_the_way: list[str] = []
        self.late: list[tuple[Payment, Answered, int]] = []

    @precondition(lambda self: self.now == START and not self.attempts)
    @rule(card=st.sampled_from(["good", "declined"]))
    def begins(self, card: str) -> None:
        self.gateway.card = card

    @precondition(lambda self: self.run_at < START + timedelta(days=30))
    @rule()
    def claim(self) -> None:
        self.now = max(self.now, self.run_at)
        self.held, self.lease, self.run_at = True, self.lease + 1, self.now + LEASE
        one = self.attempts.get(self.payment.attempt_no)
        made = decide(self.payment, Due(one), self.now)
        effect, first = made.effect, isinstance(made.effect, Open)
        if isinstance(effect, Open):
            one = replace(SALE, attempt_no=effect.attempt_no, opened_at=self.now,
                          gateway_key=f"k{effect.attempt_no}")  # fmt: skip
            self.attempts[effect.attempt_no] = one
            effect = Send()
        self._write(self.payment, made, self.lease)
        if isinstance(effect, Send | Look | CancelObject):
            assert one is not None
            self.senders.append(Sender(made.payment, one, effect, self.lease, first))

    @precondition(lambda self: self.senders)
    @rule(data=st.data(), fault=st.sampled_from(FAULTS))
    def step(self, data: st.DataObject, fault: str) -> None:
        self.acts(data.draw(st.sampled_from(self.senders)), fault)

    def acts(self, sender: Sender, fault: str) -> None:
        key = sender.attempt.gateway_key
        asked = {Send: "send", Look: "look", CancelObject: "cancel"}[type(sender.effect)]
        told: tuple[Answer, str | None] | None
        if fault == "429":
            told = (NotSent("rate_limited"), None)
            if asked != "send":
                told = (Unknown("rate_limited"), None)
        elif fault == "withheld":
            told = (Withheld("gateway_resting", first=sender.first), None)
        elif asked == "send" and fault == "refused" and key not in self.gateway.status:
            told = (REFUSED, None)
        elif fault == "lost_before":
            told = None
        elif asked == "send" and fault == "arrives_late":
            self.on_the_way.append(key)
            told = None
        elif asked == "send":
            told = self.gateway.sell(key)
        elif key not in self.gateway.status or not self._is_found(sender.attempt):
            told = (NotShown(), None)
        else:
            told = self.gateway.void(key) if asked == "cancel" else self.gateway.read(key)
        if fault == "lost_after" and told is not None:
            self.late.append((sender.payment, self._heard(sender, told, asked), sender.lease))
            told = None
        answered = self._heard(sender, told or (Unknown("no_answer"), None), asked)
        sender.first = False
        made = self._settle(sender.payment, answered, sender.lease)
        sender.payment, sender.effect = made.payment, made.effect
        over = self.now >= self.run_at or sender.lease != self.lease
        if over or not isinstance(sender.effect, Send | Look | CancelObject):
            self.senders.remove(sender)

    @precondition(lambda self: self.senders)
    @rule(data=st.data())
    def dies(self, data: st.DataObject) -> None:
        self.senders.remove(data.draw(st.sampled_from(self.senders)))

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def late_answer(self, data: st.DataObject) -> None:
        self._settle(*self.late.pop(data.draw(st.integers(0, len(self.late) - 1))))

    @precondition(lambda self: self.on_the_way)
    @rule(twice=st.booleans())
    def arrives(self, *, twice: bool) -> None:
        key = self.on_the_way[-1] if twice else self.on_the_way.pop()
        self.gateway.sell(key)

    @rule()
    def search_catches_up(self) -> None:
        self.gateway.seen = set(self.gateway.status)

    @rule(seconds=st.sampled_from([1, 10, 26, 300, 900, 72_000]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def cancel(self) -> None:
        try:
            made = decide(self.payment, CancelAsked(), self.now)
        except NotPossible:
            return
        self._write(self.payment, made, self.lease, command=True)

    def _is_found(self, one: Attempt) -> bool:
        known = self.attempts[one.attempt_no].gateway_object_id is not None
        return known or one.gateway_key in self.gateway.seen

    def _heard(self, sender: Sender, told: tuple[Answer, str | None], asked: Any) -> Answered:
        answer, object_id = told
        first = sender.first and asked == "send"
        return heard(answer, asked, sender.attempt, object_id=object_id, first=first)

    def _settle(self, seen: Payment, answered: Answered, lease: int) -> Any:
        if self.payment.version != seen.version:
            seen = self.payment
        made = decide(seen, answered, self.now)
        if made.payment is not seen or made.attempt_state or answered.call.object_id:
            number = answered.attempt.attempt_no
            stored = self.attempts[number]
            object_id = stored.gateway_object_id or answered.call.object_id
            state = made.attempt_state or stored.state
            self.attempts[number] = replace(stored, gateway_object_id=object_id, state=state)
        self._write(seen, made, lease)
        return made

    def _write(self, before: Payment, made: Any, lease: int, *, command: bool = False) -> None:
        assert before is self.payment
        self.payment = made.payment
        if isinstance(made.effect, Rest):
            self.run_at = START + timedelta(days=9999)
            return
        is_free = not self.held or self.run_at <= self.now
        may_plan = is_free or (lease == self.lease and not command)
        if isinstance(made.effect, Schedule) and may_plan:
            self.run_at, self.held = made.effect.run_at, False

    @invariant()
    def it_is_taken_at_most_once(self) -> None:
        assert self.gateway.taken <= 1

    @invariant()
    def what_ended_without_money_can_take_none(self) -> None:
        one = self.payment
        if one.status in ("failed", "canceled") and one.review is None:
            assert not any(map(self.gateway.holds, self.gateway.status))
            assert not set(self.on_the_way) - set(self.gateway.status)

    @invariant()
    def what_succeeded_was_taken(self) -> None:
        if self.payment.status == "succeeded":
            assert self.gateway.taken == 1

    @invariant()
    def one_attempt_at_most_may_take_money(self) -> None:
        able = {key for key in self.gateway.status if self.gateway.holds(key)}
        able |= set(self.on_the_way) - set(self.gateway.status)
        assert len(able) <= 1


OneSale.TestCase.settings = settings(
    max_examples=share(1000, 150), stateful_step_count=30, deadline=None
)
test_a_sale_is_taken_once_whatever_happens = OneSale.TestCase


def _first_was_never_heard_of(world: OneSale) -> None:
    """The first request arrives late; the second is turned away, by 429."""
    world.claim()
    world.acts(world.senders[0], "arrives_late")
    world.claim()
    world.acts(world.senders[-1], "none")  # a look, which shows nothing
    world.acts(world.senders[-1], "429")
    world.claim()
    world.acts(world.senders[-1], "none")
    world.arrives(twice=False)


def _second_is_refused(world: OneSale) -> None:
    """The first request arrives late; the second is refused without an object."""
    world.claim()
    world.acts(world.senders[0], "arrives_late")
    world.claim()
    world.acts(world.senders[-1], "none")
    world.acts(world.senders[-1], "refused")
    world.arrives(twice=False)


def _two_senders(world: OneSale) -> None:
    """The first sender stalls before its call; the second sends, and then the first is told no."""
    world.claim()
    [first] = world.senders
    world.now += LEASE
    world.claim()
    second = world.senders[-1]
    world.acts(second, "none")
    world.acts(second, "arrives_late")
    world.acts(first, "429")
    world.claim()
    world.acts(world.senders[-1], "none")
    world.arrives(twice=False)


def judged(story: Any) -> list[str]:
    """The invariants that a story breaks."""
    world, broken = OneSale(), []
    story(world)
    for name in ("it_is_taken_at_most_once", "what_ended_without_money_can_take_none",
                 "what_succeeded_was_taken", "one_attempt_at_most_may_take_money"):  # fmt: skip
        try:
            getattr(world, name)()
        except AssertionError:
            broken.append(name)
    return broken


@pytest.mark.parametrize(
    ("story", "place", "name", "wrong"),
    [
        (_first_was_never_heard_of, sales, "_is_first_word", lambda *_: True),
        (_second_is_refused, decide_module, "is_believed", lambda *_: True),
        (_two_senders, sales, "_is_first_word", lambda _, answered: answered.first),
    ],
)
def test_the_world_shows_what_a_broken_rule_costs(monkeypatch, story, place, name, wrong):
    assert judged(story) == []
    monkeypatch.setattr(place, name, wrong)
    assert judged(story)
