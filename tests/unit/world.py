"""A small world: one payment, its database rows, a gateway, senders that stall and die.

The database and the senders do step by step what payments/engine.py and work/worker.py do, so
that a test can stop any of them between any two steps.
"""

import dataclasses
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from msgspec.structs import replace

from strongroom.payments.decide import decide
from strongroom.payments.states import (
    ActionRequired,
    Answer,
    Answered,
    Approved,
    AtGateway,
    Attempt,
    Authorized,
    Call,
    Canceled,
    CancelObject,
    CaptureHold,
    Command,
    Decision,
    Declined,
    Due,
    Effect,
    Look,
    NotPossible,
    NotSent,
    Open,
    Payment,
    Pending,
    Rest,
    Schedule,
    Send,
    Unknown,
    Withheld,
)
from tests.unit.examples import ACCOUNT, AMOUNT, START, attempt, payment
from tests.unit.fake_gateway import FakeGateway

LEASE: Final = timedelta(seconds=25)
WORDS: Final[dict[type, tuple[str, str]]] = {
    Send: ("confirm", "send"),
    Look: ("retrieve", "look"),
    CancelObject: ("cancel", "cancel"),
    CaptureHold: ("capture", "capture"),
}
"""What the gateway is asked for, and what the answer is one to."""


@dataclass(frozen=True)
class Job:
    """The payment's row in jobs: who has it until when."""

    run_at: datetime
    held: bool = False
    lease: int = 0
    tries: int = 0


@dataclass(frozen=True)
class Claim:
    """A claim's open transaction: the job's row is locked, payment and attempt were read."""

    payment: Payment
    attempt: Attempt | None
    before: Job
    now: datetime
    steady: float


@dataclass
class Sender:
    """A worker's task for a claimed payment: where it stands between two steps."""

    payment: Payment
    attempt: Attempt
    effect: Effect
    tries: int
    lease: int
    lease_ends: float
    answer: Answered | None = None
    made_id: str | None = None
    first: bool = False
    """Whether its next call would be the first that can move money."""


@dataclass
class World:
    """The rows of one payment, and who acts on them."""

    gateway: FakeGateway = field(default_factory=FakeGateway)
    payment: Payment = field(default_factory=lambda: payment(version=1, instrument_token="pm"))
    attempts: dict[int, Attempt] = field(default_factory=dict)
    job: Job | None = field(default_factory=lambda: Job(START))
    claiming: Claim | None = None
    now: datetime = START
    steady: float = 0.0
    senders: list[Sender] = field(default_factory=list)
    late: list[tuple[Payment, Answered, int]] = field(default_factory=list)
    waiting: list[tuple[Effect, int, datetime]] = field(default_factory=list)
    released: bool = False
    captures: int = 0
    resting: set[UUID | None] = field(default_factory=set)
    """Accounts that nothing new is sent to."""

    def command(self, wish: Command) -> bool:
        """What a caller asks, as Commander; it waits for a claim that has the job's row."""
        assert self.claiming is None
        try:
            made = decide(self.payment, wish, self.now)
        except NotPossible:
            return False
        self.payment, effect = made.payment, made.effect
        if isinstance(effect, Schedule):
            job = self.job or Job(effect.run_at)
            if not job.held or job.run_at <= effect.run_at:
                job = dataclasses.replace(job, run_at=effect.run_at)
            self.job = job
        return True

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.steady += max(seconds, 0.0)

    def claim(self) -> None:
        """Phase one, as Engine.claim, with nobody in between."""
        if self.begin_claim():
            self.end_claim()

    def begin_claim(self) -> bool:
        """Takes the job and reads; others act until end_claim writes."""
        job = self.job
        if self.claiming is not None or job is None or job.run_at > self.now:
            return False
        self.job = Job(self.now + LEASE, held=True, lease=job.lease + 1, tries=job.tries + 1)
        # What was never claimed before, and never changed, is not looked for.
        touched = self.job.tries > 1 or self.payment.version > 1
        one = self.attempts.get(self.payment.attempt_no) if touched else None
        self.claiming = Claim(self.payment, one, job, self.now, self.steady)
        return True

    def end_claim(self) -> None:
        """Writes what the claim decided on what it read; takes all back when that has changed."""
        claim, self.claiming = self.claiming, None
        job = self.job
        assert claim is not None
        assert job is not None
        is_resting = claim.payment.gateway_account_id in self.resting
        made = decide(claim.payment, Due(claim.attempt, is_resting, job.tries), claim.now)
        if self._holds_still(claim, made):
            self._write(claim.payment, made, claim.attempt, job.lease, claim.now)
            self._begin_to_send(claim, made, job)
        else:
            self.job = claim.before
        waiting, self.waiting = self.waiting, []
        for effect, lease, at in waiting:  # they waited for the job's row
            self._plan(effect, lease, at)

    def _holds_still(self, claim: Claim, made: Decision) -> bool:
        if made.payment is not claim.payment and self.payment.version != claim.payment.version:
            return False
        if made.attempt_state != "not_sent" or claim.attempt is None:
            return True
        return self.attempts[claim.attempt.attempt_no].gateway_object_id is None

    def _begin_to_send(self, claim: Claim, made: Decision, job: Job) -> None:
        effect, one = made.effect, claim.attempt
        if isinstance(effect, Open):
            assert made.payment is claim.payment
            if effect.attempt_no in self.attempts:
                return  # opened before all the same: left to the next claim
            one = attempt(
                attempt_no=effect.attempt_no,
                gateway_key=f"key_{effect.attempt_no}",
                gateway_account_id=made.payment.gateway_account_id,
                gateway_object_id=None,
                kind="authorize" if made.payment.capture == "manual" else "sale",
                opened_at=claim.now,
            )
            self.attempts[effect.attempt_no] = one
            effect = Send()
        if isinstance(effect, AtGateway):
            assert one is not None
            ends = claim.steady + LEASE.total_seconds()
            sender = Sender(made.payment, one, effect, job.tries, job.lease, ends)
            self.senders.append(sender)

    def step(self, sender: Sender, fault: str, *, heard_commit: bool = True) -> None:
        """The sender's next step: commit an id, settle an answer, or call the gateway."""
        if sender.made_id is not None:
            self._commit_id(sender, heard_commit)
        elif sender.answer is not None:
            self._settle(sender, heard_commit)
        elif isinstance(sender.effect, Send) and sender.attempt.gateway_object_id is None:
            self._prepare(sender, fault)
        else:
            self._call(sender, fault)

    def _goes_on(self, sender: Sender) -> bool:
        """Lease and time are looked at before a call; the call itself may come much later."""
        over = self.steady + 10 > sender.lease_ends
        if over or not isinstance(sender.effect, AtGateway):
            self.senders.remove(sender)
            return False
        if isinstance(sender.effect, Send) and self.now >= sender.payment.not_after:
            sender.answer = self._answered(sender, NotSent("not_sent_in_time"), "send")
        return True

    def _prepare(self, sender: Sender, fault: str) -> None:
        if fault == "withheld":
            sender.answer = self._answered(sender, Withheld("gateway_resting", first=True), "send")
            return
        key = sender.attempt.gateway_key + "_create"
        is_elsewhere = sender.attempt.gateway_account_id != ACCOUNT
        heard, _ = self.gateway.ask("create", key, None, fault, self.now, is_elsewhere=is_elsewhere)
        if heard is not None and heard not in ("500", "429"):
            sender.made_id = heard
            return
        answer = NotSent({None: "no_answer", "429": "rate_limited"}.get(heard, "gateway_error"),
                         fresh_key=heard == "500")  # fmt: skip
        sender.answer = self._answered(sender, answer, "send")

    def _commit_id(self, sender: Sender, heard_commit: bool) -> None:
        number, made_id = sender.attempt.attempt_no, sender.made_id
        stored, row = self.attempts[number], self.payment
        wanted = (
            stored.state == "open"
            and stored.gateway_object_id is None
            and row.status == "processing"
            and row.closing is None
            and row.review is None
            and row.attempt_no == number
        )
        if wanted:
            self.attempts[number] = replace(stored, gateway_object_id=made_id)
        if not wanted or not heard_commit:
            self.senders.remove(sender)
            return
        sender.made_id, sender.first = None, True
        sender.attempt = replace(sender.attempt, gateway_object_id=made_id)
        self._goes_on(sender)

    def _call(self, sender: Sender, fault: str) -> None:
        operation, asked = WORDS[type(sender.effect)]
        first, sender.first = sender.first, False
        if fault == "withheld":
            withheld = Withheld("gateway_resting", first=first)
            sender.answer = self._answered(sender, withheld, asked)
            return
        object_id, key = sender.attempt.gateway_object_id, f"{sender.attempt.gateway_key}_confirm"
        if operation == "cancel":
            key = f"{sender.attempt.gateway_key}_cancel_{self.now:%d%H}"
        if operation == "capture":
            self.captures += 1
            key = f"{sender.attempt.gateway_key}_capture_{self.captures}"
        heard, told = (
            ("no object", "no object")
            if object_id is None
            else self.gateway.ask(
                operation,
                None if operation == "retrieve" else key,
                object_id,
                fault,
                self.now,
                sender.payment.capture_minor or AMOUNT,
            )
        )
        if heard is None:
            if told is not None:
                answered = self._answered(sender, _read(told), asked)
                self.late.append((sender.payment, answered, sender.lease))
            sender.answer = self._answered(sender, Unknown("no_answer"), asked)
            return
        answer = _read(heard)
        if operation == "retrieve" and heard == "429":
            answer = Unknown("rate_limited")
        sender.answer = self._answered(sender, answer, asked)

    def _answered(self, sender: Sender, answer: Answer, asked: Any) -> Answered:
        call = Call(operation=asked, started_at=self.now, duration_ms=0.0, outcome="x")
        return Answered(
            attempt=sender.attempt,
            answer=answer,
            call=call,
            asked=asked,
            tries=sender.tries,
            capture_minor=sender.payment.capture_minor,
        )

    def _settle(self, sender: Sender, heard_commit: bool) -> None:
        assert sender.answer is not None
        tried: list[Decision] = []
        made = self.settle(sender.payment, sender.answer, sender.lease, tried)
        if not heard_commit:  # the same batch runs again
            made = self.settle(sender.payment, sender.answer, sender.lease, tried)
        sender.payment, sender.effect, sender.answer = made.payment, made.effect, None
        self._goes_on(sender)

    def settle(
        self, seen: Payment, answered: Answered, lease: int, tried: list[Decision] | None = None
    ) -> Decision:
        """Phase three, as Engine.settle: against the row as last seen, then as it now is."""
        tried = [] if tried is None else tried
        made = decide(seen, answered, self.now)
        tried.append(made)
        if self.payment.version != seen.version:
            own = [one for one in tried if one.kind and one.payment == self.payment]
            if own:
                return own[0]
            seen = self.payment
            made = decide(seen, answered, self.now)
            tried.append(made)
        stored = self.attempts[answered.attempt.attempt_no]
        assert made.attempt_state != "not_sent" or stored.gateway_object_id is None
        self._write(seen, made, answered.attempt, lease, self.now)
        return made

    def _write(
        self, before: Payment, made: Decision, one: Attempt | None, lease: int, at: datetime
    ) -> None:
        if made.payment is not before:
            assert before.version == self.payment.version == made.payment.version - 1
            self.payment = made.payment
            if isinstance(made.effect, Rest) and made.effect.release:
                self.released = True
            if made.payment.review is not None:
                self.released = False  # taken back
        if made.attempt_state and one is not None:
            number = one.attempt_no
            self.attempts[number] = replace(self.attempts[number], state=made.attempt_state)
        self._plan(made.effect, lease, at)

    def _plan(self, effect: Effect, lease: int, at: datetime) -> None:
        """What is planned changes for the lease's holder, or when nobody holds it any more."""
        if self.claiming is not None:
            self.waiting.append((effect, lease, at))
            return
        job = self.job
        if job is None:
            return
        match effect:
            case Rest():
                self.job = None
            case Schedule(run_at) if job.lease == lease or not job.held or job.run_at <= at:
                self.job = dataclasses.replace(job, run_at=run_at, held=False)
            case _:
                pass


def _read(told: Any) -> Answer:
    """As the adapter reads it."""
    match told:
        case "500" | "no object":
            return Unknown("gateway_error")
        case "429":
            return NotSent("rate_limited")
        case "refused":
            return Declined("config_error", "charge_expired_for_capture", object_open=True)
        case ("succeeded", taken, _):
            return Approved(taken, "EUR")
        case ("requires_capture", _, holds_until):
            return Authorized(AMOUNT, "EUR", holds_until)
        case ("canceled", *_):
            return Canceled()
        case ("requires_action", *_):
            return ActionRequired({"type": "redirect_to_url"})
        case ("processing", *_):
            return Pending()
        case ("requires_payment_method", *_):
            return Declined("generic_decline", "generic_decline", object_open=True)
        case _:
            return NotSent("not_confirmed_yet")
