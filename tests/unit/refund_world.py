"""A small world of refunds: one payment, its rows, a gateway, senders that stall and die.

Rows and senders do step by step what payments/commands.py and payments/refund_engine.py do.
"""

import dataclasses
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from msgspec.structs import replace

from strongroom.payments.refunds import (
    Absent,
    Refund,
    RefundAnswer,
    RefundAnswered,
    Refunded,
    Refused,
    refund_answered,
    refund_asked,
    refund_due,
)
from strongroom.payments.states import (
    Call,
    Look,
    NotPossible,
    NotSent,
    Open,
    Payment,
    Rest,
    Schedule,
    Send,
    Unknown,
)
from tests.unit.examples import START
from tests.unit.fake_gateway import KEY_LIFE
from tests.unit.refund_examples import REFUND, payment_of, refund
from tests.unit.world import LEASE, Job

CAPTURED: Final = 1000
STALL_MAX: Final = timedelta(minutes=15)
"""What has waited longer past its lease than this has no connection to send over any more."""
FAULTS: Final = (
    "none", "lost_before", "lost_after", "500", "500_saved", "500_after", "429", "refused",
)  # fmt: skip


@dataclass
class Given:
    """A Refund at the gateway."""

    object_id: str
    number: int
    amount: int
    status: Literal["pending", "succeeded", "failed"]
    made_at: datetime


@dataclass
class FakeRefunds:
    """Never gives back more than was captured; a key replays what was executed under it.

    `lag`: how long a new refund is not in the list yet. Refusals are kept under no key.
    """

    begins_as: Literal["pending", "succeeded"] = "succeeded"
    lag: timedelta = timedelta()
    given: list[Given] = field(default_factory=list)
    keys: dict[str, tuple[datetime, Any]] = field(default_factory=dict)
    over_asked: int = 0

    def create(self, one: Refund, number: int, fault: str, now: datetime) -> tuple[Any, Any]:
        """What the caller hears (None: nothing), and what it would have heard."""
        if fault == "lost_before":
            return None, None
        if fault in ("429", "500", "refused"):
            return fault, fault
        if one.gateway_key in self.keys and now - self.keys[one.gateway_key][0] < KEY_LIFE:
            told = self.keys[one.gateway_key][1]
        elif one.amount_minor > CAPTURED - self.total():
            self.over_asked += 1
            told = "refused"
        else:
            told = "500" if fault == "500_saved" else self._give(one, number, now)
            told = "500" if fault == "500_after" else told
            self.keys[one.gateway_key] = (now, told)
        return (None if fault == "lost_after" else told), told

    def find(self, object_id: str | None, number: int, fault: str, now: datetime) -> Any:
        """By its id, or by our reference in the list."""
        if fault != "none":
            return "429" if fault == "429" else None
        for one in self.given:
            if object_id == one.object_id:
                return one
            if object_id is None and one.number == number and now >= one.made_at + self.lag:
                return one
        return "absent"

    def total(self) -> int:
        return sum(one.amount for one in self.given if one.status != "failed")

    def _give(self, one: Refund, number: int, now: datetime) -> Given:
        name = f"re_{len(self.given) + 1}"
        made = Given(name, number, one.amount_minor, self.begins_as, now)
        self.given.append(made)
        return made


@dataclass
class Sender:
    """A worker's task for a claimed refund."""

    number: int
    refund: Refund
    effect: object
    tries: int
    lease: int
    ends: datetime
    first: bool = False
    answer: RefundAnswered | None = None


@dataclass
class RefundWorld:
    """The rows of a payment and its refunds, and who acts on them."""

    gateway: FakeRefunds = field(default_factory=FakeRefunds)
    payment: Payment = field(default_factory=lambda: payment_of(captured_minor=CAPTURED))
    refunds: list[Refund] = field(default_factory=list)
    jobs: dict[int, Job] = field(default_factory=dict)
    now: datetime = START
    senders: list[Sender] = field(default_factory=list)
    late: list[tuple[int, RefundAnswered, int, datetime]] = field(default_factory=list)

    def pass_time(self, wait: timedelta) -> None:
        self.now += wait
        self.senders = [one for one in self.senders if self.now < one.ends + STALL_MAX]
        self.late = [one for one in self.late if self.now < one[3] + STALL_MAX]

    def ask(self, amount: int | None) -> bool:
        """A caller's command, as Commander."""
        try:
            self.payment, amount_minor = refund_asked(self.payment, amount, self.now)
        except NotPossible:
            return False
        number = len(self.refunds)
        made = refund(
            refund_id=UUID(int=REFUND.int + number),
            amount_minor=amount_minor,
            gateway_key=f"key_{number}",
            opened_at=None,
            parameters=None,
            created_at=self.now,
            updated_at=self.now,
        )
        self.refunds.append(made)
        self.jobs[number] = Job(self.now)
        return True

    def claim(self) -> None:
        """Phase one, for all that is due."""
        for number, job in list(self.jobs.items()):
            if job.run_at > self.now:
                continue
            held = Job(self.now + LEASE, held=True, lease=job.lease + 1, tries=job.tries + 1)
            self.jobs[number] = held
            one = self.refunds[number]
            effect: object = refund_due(one)
            if isinstance(effect, Rest):
                del self.jobs[number]
                continue
            first = isinstance(effect, Open)
            if first:
                one = replace(one, opened_at=self.now, parameters={"payment_intent": "pi_1"})
                self.refunds[number] = one
                effect = Send()
            sender = Sender(number, one, effect, held.tries, held.lease, held.run_at, first)
            self.senders.append(sender)

    def step(self, sender: Sender, fault: str) -> None:
        """The sender's next step: settle an answer, or ask the gateway."""
        if sender.answer is not None:
            sender.effect = self.settle(sender.number, sender.answer, sender.lease)
            sender.answer = None
            if not isinstance(sender.effect, Send | Look) or self.now >= sender.ends:
                self.senders.remove(sender)
            return
        one, number = sender.refund, sender.number
        if isinstance(sender.effect, Send):
            heard, told = self.gateway.create(one, number, fault, self.now)
        else:
            heard = told = self.gateway.find(one.gateway_object_id, number, fault, self.now)
        looks = isinstance(sender.effect, Look)
        if heard is None and told is not None:
            late = _answered(_read(told, looks=looks), sender, self.now)
            self.late.append((number, late, sender.lease, self.now))
        sender.answer = _answered(_read(heard, looks=looks), sender, self.now)
        sender.first = False

    def settle(self, number: int, answer: RefundAnswered, lease: int) -> object:
        """Phase three: payment and refund are locked, and as they now are."""
        job = self.jobs.get(number)
        if job is None or job.lease != lease:  # somebody has claimed it since
            answer = replace(answer, first=False)
        made = refund_answered(self.payment, self.refunds[number], answer, self.now)
        self.payment, self.refunds[number] = made.payment, made.refund
        match made.effect:
            case Rest():
                self.jobs.pop(number, None)
            case Schedule(run_at) if job is not None:
                if job.lease == lease or not job.held or job.run_at <= self.now:
                    self.jobs[number] = dataclasses.replace(job, run_at=run_at, held=False)
            case _:
                pass
        return made.effect


def _answered(answer: RefundAnswer, sender: Sender, now: datetime) -> RefundAnswered:
    asked: Literal["send", "look"] = "send" if isinstance(sender.effect, Send) else "look"
    call = Call(operation=asked, started_at=now, duration_ms=0.0, outcome="x")
    return RefundAnswered(
        answer=answer, call=call, asked=asked, tries=sender.tries, first=sender.first
    )


def _read(told: Any, *, looks: bool) -> RefundAnswer:
    """As the adapter reads it; a look that brings no object has learnt nothing."""
    match told:
        case Given(object_id, _, amount, status):
            return Refunded(object_id, status, amount, "EUR")
        case "absent":
            return Absent()
        case "429" if not looks:
            return NotSent("rate_limited")
        case "refused":
            return Refused("refused")
        case _:
            return Unknown("gateway_error")
