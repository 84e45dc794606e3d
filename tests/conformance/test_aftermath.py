"""Disputes, payouts and lists, at every gateway: each cell holds, or says why it cannot exist."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from typing import Any, Final

import pytest

from strongroom.clock import SystemClock
from strongroom.gateways.history import NotListed, Page, Window
from strongroom.payments.states import NotSent, Unknown
from strongroom.settlement.disputes import Seen
from strongroom.settlement.port import Listed, NoSuchObject, NotTaken, PayoutShown
from tests.conformance.aftermath import (
    ABSENT,
    CANNOT_BE,
    CASES,
    LISTS,
    TELLS,
    Aftermath,
    Task,
)
from tests.conformance.braintree_aftermath import CANNOT as BRAINTREE_CANNOT
from tests.conformance.braintree_aftermath import BraintreeAftermath
from tests.conformance.matrix import FAULTS, TIMEOUTS, Condition
from tests.conformance.stripe_aftermath import CANNOT as STRIPE_CANNOT
from tests.conformance.stripe_aftermath import StripeAftermath
from tests.conformance.test_conformance import DEADLINE_SECONDS, PATIENCE_SECONDS, TimedOut

CANNOT: Final[Mapping[str, Mapping[tuple[Task, str], str]]] = {
    "stripe": STRIPE_CANNOT,
    "braintree": BRAINTREE_CANNOT,
}
RIGS: Final[dict[str, Callable[[Any], Aftermath]]] = {
    "stripe": StripeAftermath,
    "braintree": BraintreeAftermath,
}
NOBODY: Final = {Task.PAYOUT: "nobody@2024-02-29"}
TEXTS: Final = {"customer_name": "Ada Lovelace"}
KEY: Final = "sr_of_the_answer"
ENDS: Final = {
    Task.STAGE: ("open", 1),
    Task.SUBMIT: ("submitted", 1),
    Task.GIVE_IN: ("given in", 0),
}


def runs() -> list[tuple[str, Task, str]]:
    """What can exist: (gateway, task, case)."""
    return [
        (gateway, task, case)
        for gateway, cannot in CANNOT.items()
        for task in Task
        for case in CASES
        if (task, case) not in CANNOT_BE.keys() | cannot.keys()
    ]


@pytest.fixture
async def rig(request: pytest.FixtureRequest, stand_ins) -> AsyncIterator[Aftermath]:
    made = RIGS[request.param](stand_ins(request.param))
    try:
        yield made
    finally:
        await made.close()


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("rig", "task", "case"), runs(), indirect=["rig"], ids=str)
async def test_what_comes_after_is_told_as_the_ports_say(
    rig: Aftermath, task: Task, case: str
) -> None:
    if case == ABSENT:
        answer = await asked(rig, task, NOBODY.get(task, "nobody"))
        assert isinstance(answer, NotTaken | Unknown if task in TELLS else NoSuchObject), answer
        return
    subject = rig.payout() if task in (Task.PAYOUT, Task.PAYOUTS) else rig.dispute()
    if case == Condition.DECLINED:
        await asked(rig, Task.GIVE_IN, subject)
        answer = await asked(rig, task, subject, "sr_of_another")
        assert isinstance(answer, NotTaken), answer
        assert rig.standing(subject) == ("given in", 0)
        return
    if case in (Condition.OK, Condition.DUPLICATE):
        for _ in range(1 if case == Condition.OK else 2):
            answer = await asked(rig, task, subject)
            if task in TELLS and isinstance(answer, NotTaken):
                break  # once it is over there is nothing more to say
            assert goes_well(task, subject, answer), answer
    else:
        await goes_wrong(rig, task, Condition(case), subject)
    if task in TELLS:
        assert rig.standing(subject) == ENDS[task]


async def goes_wrong(rig: Aftermath, task: Task, condition: Condition, subject: str) -> None:
    """What is not known is not told, and the truth is found: once, by the ledger."""
    rig.strike(task, FAULTS[condition])
    seconds = DEADLINE_SECONDS if condition in TIMEOUTS else PATIENCE_SECONDS
    answer = await asked(rig, task, subject, seconds=seconds)
    if condition in TIMEOUTS:
        assert isinstance(answer, TimedOut), answer
    else:
        assert isinstance(answer, Unknown | NotSent | NotListed), answer
    if isinstance(answer, NotSent) and task in TELLS:
        assert rig.standing(subject) == ("open", 0), "it said that nothing was sent"
    rig.calm()
    if task not in TELLS or rig.standing(subject) != ENDS[task]:
        again = await asked(rig, task, subject)
        assert goes_well(task, subject, again), again


def goes_well(task: Task, subject: str, answer: Any) -> bool:
    """It is shown as it is there, or named by the list."""
    match answer:
        case Seen():
            status = {Task.SUBMIT: "under_review", Task.GIVE_IN: "lost"}
            stands = answer.object_id, answer.status, answer.amount_minor
            return stands == (subject, status.get(task, "needs_response"), 1000)
        case PayoutShown():
            return answer.seen.object_id == subject and answer.seen.amount_minor > 0
        case Listed():
            return subject in answer.object_ids
        case Page():
            return task in LISTS and answer.seen >= len(answer.items) > 0
        case _:
            return False


async def asked(
    rig: Aftermath,
    task: Task,
    subject: str,
    key: str = KEY,
    *,
    seconds: float = PATIENCE_SECONDS,
) -> Any:
    try:
        async with asyncio.timeout(seconds):
            return await request(rig, task, subject, key + subject)
    except TimeoutError:
        return TimedOut()


async def request(rig: Aftermath, task: Task, subject: str, key: str) -> Any:
    gateway, account, now = rig.gateway, rig.account, SystemClock().now()
    window = Window(now - timedelta(hours=1), now + timedelta(minutes=1))
    answer: Any = None
    match task:
        case Task.DISPUTE:
            answer, _ = await gateway.look_at_dispute(account, subject)
        case Task.DISPUTES:
            answer, _ = await gateway.list_disputes(account, None)
        case Task.STAGE | Task.SUBMIT:
            answer, _ = await gateway.give_evidence(
                account, subject, TEXTS, key, submit=task is Task.SUBMIT
            )
        case Task.GIVE_IN:
            answer, _ = await gateway.give_in(account, subject, key)
        case Task.PAYOUT:
            answer, _ = await gateway.look_at_payout(account, subject, [])
        case Task.PAYOUTS:
            answer, _ = await gateway.list_payouts(account, None)
        case Task.CHARGES:
            return await rig.charges.charges(account, window, None)
        case Task.EVENTS:
            assert rig.history is not None
            return await rig.history.events(account, window, None, undelivered=False)
    return answer


def test_each_cell_is_run_or_says_why_not() -> None:
    for gateway, cannot in CANNOT.items():
        run = {(task, case) for name, task, case in runs() if name == gateway}
        known = CANNOT_BE.keys() | cannot.keys()
        assert run.isdisjoint(known)
        assert run | known == {(task, case) for task in Task for case in CASES}
        assert all(len(reason) > 20 for reason in cannot.values())
