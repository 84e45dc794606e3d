"""Every cell of the matrix, at every gateway: it holds, or says why it cannot exist."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import pytest
from msgspec.structs import replace

from strongroom.payments.refunds import Refunded, Refused
from strongroom.payments.states import (
    ActionRequired,
    Approved,
    Authorized,
    Canceled,
    DeclineClass,
    Declined,
    Mismatched,
    NotSent,
    Unknown,
)
from tests.conformance.braintree import CANNOT as BRAINTREE_CANNOT
from tests.conformance.braintree import NO_DECLINES as BRAINTREE_NO_DECLINES
from tests.conformance.matrix import (
    CELLS,
    CLASSES,
    FAULTS,
    GENERAL,
    MOVING,
    TIMEOUTS,
    WELL,
    WRONG,
    Cell,
    Condition,
    Operation,
)
from tests.conformance.rig import Rig, Subject
from tests.conformance.stripe import CANNOT as STRIPE_CANNOT
from tests.conformance.stripe import NO_DECLINES as STRIPE_NO_DECLINES
from tests.unit.examples import AMOUNT

CANNOT: Final[Mapping[str, Mapping[tuple[Operation, Condition], str]]] = {
    "stripe": STRIPE_CANNOT,
    "braintree": BRAINTREE_CANNOT,
}
NO_DECLINES: Final[Mapping[str, Mapping[DeclineClass, str]]] = {
    "stripe": STRIPE_NO_DECLINES,
    "braintree": BRAINTREE_NO_DECLINES,
}
"""By gateway. What is named here is not run, and stands with its reason in docs/gateways.md."""
READS: Final = frozenset({Operation.LOOK, Operation.LOOK_AT_REFUND})
PATIENCE_SECONDS: Final = 60.0
DEADLINE_SECONDS: Final = 0.7
"""For what is withheld; a slow machine only makes it come sooner."""
TURNS_MAX: Final = 5


class TimedOut:
    """The caller's deadline was over."""


def runs() -> list[tuple[str, Cell]]:
    """What can exist: (gateway, cell)."""
    return [
        (gateway, cell)
        for gateway, cannot in CANNOT.items()
        for cell in CELLS
        if (cell.operation, cell.condition) not in GENERAL.keys() | cannot.keys()
    ]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("rig", "cell"), runs(), indirect=["rig"], ids=str)
async def test_an_adapter_answers_as_the_port_says(rig: Rig, cell: Cell) -> None:
    match cell.condition:
        case Condition.OK:
            await goes_well(rig, cell.operation)
        case Condition.DECLINED:
            await is_refused(rig, cell.operation)
        case Condition.ACTION:
            await asks_the_customer(rig, cell.operation)
        case Condition.DUPLICATE:
            await is_asked_twice(rig, cell.operation)
        case Condition.IN_FLIGHT:
            await is_asked_while_under_way(rig, cell.operation)
        case _:
            await goes_wrong(rig, cell.operation, cell.condition)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("operation", sorted(MOVING))
@pytest.mark.parametrize(
    ("rig", "decline"),
    [(g, one) for g, none in NO_DECLINES.items() for one in CLASSES if one not in none],
    indirect=["rig"],
)
async def test_a_decline_is_of_its_class(
    rig: Rig, decline: DeclineClass, operation: Operation
) -> None:
    subject = await rig.declined(decline, operation)
    answer, subject = await asked(rig, operation, subject)
    assert isinstance(answer, Declined), answer
    assert answer.decline == decline
    assert answer.raw_code
    assert nothing_moved(rig, subject)


async def goes_well(rig: Rig, operation: Operation) -> None:
    subject = await rig.ready_for(operation)
    answer, subject = await asked(rig, operation, subject)
    agrees(operation, answer)
    assert is_done(rig, operation, subject)


async def is_refused(rig: Rig, operation: Operation) -> None:
    """By the issuer or the gateway; what stood before stands afterwards."""
    match operation:
        case Operation.PREPARE:
            subject = await rig.declined("invalid_instrument", operation)
            answer, subject = await asked(rig, operation, subject)
            assert isinstance(answer, Declined)
        case Operation.SALE | Operation.AUTHORIZE:
            subject = await rig.declined("generic_decline", operation)
            answer, subject = await asked(rig, operation, subject)
            assert isinstance(answer, Declined)
            assert nothing_moved(rig, subject)
            for _ in range(2):  # and stays so, however often it is asked
                again, subject = await asked(rig, operation, subject)
                assert isinstance(again, Declined | Unknown | NotSent)
                assert nothing_moved(rig, subject)
        case Operation.CANCEL:
            subject = await rig.settled()
            answer, subject = await asked(rig, operation, subject)
            assert isinstance(answer, Approved | Unknown), answer
            assert rig.taken(subject) == AMOUNT
        case Operation.CAPTURE:
            subject = await rig.ready_for(operation)
            answer, subject = await asked(rig, operation, subject, AMOUNT + 1)
            assert isinstance(answer, Declined), answer
            assert rig.held(subject) == AMOUNT
            assert rig.taken(subject) == 0
        case Operation.REFUND:
            subject = await rig.refund_of_more()
            answer, subject = await asked(rig, operation, subject)
            assert isinstance(answer, Refused), answer
            assert rig.given_back(subject) == 0
        case _:
            raise AssertionError(f"{operation} is never refused")


async def asks_the_customer(rig: Rig, operation: Operation) -> None:
    subject = await rig.asks(operation)
    answer, subject = await asked(rig, operation, subject)
    assert isinstance(answer, ActionRequired), answer
    assert answer.next_action["type"]
    assert nothing_moved(rig, subject)
    canceled, subject = await asked(rig, Operation.CANCEL, subject)
    assert isinstance(canceled, Canceled)
    assert nothing_moved(rig, subject)


async def is_asked_twice(rig: Rig, operation: Operation) -> None:
    """One request sent again, as after an answer that was lost on the way to us."""
    before = await rig.ready_for(operation)
    first, _ = await asked(rig, operation, before)
    again, subject = await asked(rig, operation, before)
    agrees(operation, first)
    assert again == first
    assert is_done(rig, operation, subject)


async def is_asked_while_under_way(rig: Rig, operation: Operation) -> None:
    """Two workers at once, each of which believes that it is the only one."""
    before = await rig.ready_for(operation)
    rig.strike(operation, FAULTS[Condition.IN_FLIGHT])
    heard = await asyncio.gather(*(asked(rig, operation, before) for _ in range(2)))
    for answer, _ in heard:
        assert isinstance(answer, WELL[operation] | Unknown | NotSent), answer
    rig.calm()
    subject = next((s for answer, s in heard if isinstance(answer, WELL[operation])), before)
    await ends_well(rig, operation, subject)


async def goes_wrong(rig: Rig, operation: Operation, condition: Condition) -> None:
    """Whatever went wrong, the answer claims no more than is known, and the truth is found."""
    subject = await rig.ready_for(operation)
    rig.strike(operation, FAULTS[condition])
    timed_out = condition in TIMEOUTS
    seconds = DEADLINE_SECONDS if timed_out else PATIENCE_SECONDS
    answer, subject = await asked(rig, operation, subject, seconds=seconds)
    if timed_out:
        assert isinstance(answer, TimedOut), answer
    elif condition in WRONG:
        assert disagrees(answer), answer
        return
    elif operation in READS:
        assert isinstance(answer, Unknown), answer
    elif condition is Condition.RATE_LIMITED and operation is not Operation.CANCEL:
        assert isinstance(answer, NotSent), answer
    else:
        assert isinstance(answer, Unknown | NotSent), answer
    if isinstance(answer, NotSent) and operation is not Operation.PREPARE:
        assert not is_done(rig, operation, subject), "it said that nothing was sent"
    rig.calm()
    if isinstance(answer, NotSent) and answer.fresh_key:
        subject = rig.fresh(subject)
    await ends_well(rig, operation, subject)


async def ends_well(rig: Rig, operation: Operation, subject: Subject) -> None:
    """By looks, and the same request once more where they say that nothing happened."""
    answer: Any = None
    for _ in range(TURNS_MAX):
        for step in (LOOKS.get(operation, operation), operation):
            answer, subject = await asked(rig, step, subject)
            if isinstance(answer, WELL[operation]):
                agrees(operation, answer)
                assert is_done(rig, operation, subject)
                return
            assert isinstance(answer, NotSent | Unknown | Authorized) or may_look_on(answer), answer
    pytest.fail(f"it never ended: {answer}")


LOOKS: Final = {
    Operation.SALE: Operation.LOOK,
    Operation.AUTHORIZE: Operation.LOOK,
    Operation.CAPTURE: Operation.LOOK,
    Operation.CANCEL: Operation.LOOK,
    Operation.REFUND: Operation.LOOK_AT_REFUND,
}


def may_look_on(answer: object) -> bool:
    """What proves nothing: it is not shown, yet."""
    return type(answer).__name__ in ("Absent", "NotShown")


async def asked(
    rig: Rig,
    operation: Operation,
    subject: Subject,
    amount_minor: int = AMOUNT,
    *,
    seconds: float = PATIENCE_SECONDS,
) -> tuple[Any, Subject]:
    """The answer, and the subject with the id that the gateway gave to it."""
    try:
        async with asyncio.timeout(seconds):
            answer, call = await request(rig, operation, subject, amount_minor)
    except TimeoutError:
        return TimedOut(), subject
    if isinstance(answer, Refunded) and subject.refund is not None:
        known = replace(subject.refund, gateway_object_id=answer.object_id)
        return answer, replace(subject, refund=known)
    object_id = getattr(answer, "object_id", None) or getattr(call, "object_id", None)
    if object_id is not None and subject.refund is None:
        known_attempt = replace(subject.attempt, gateway_object_id=object_id)
        return answer, replace(subject, attempt=known_attempt)
    return answer, subject


def request(rig: Rig, operation: Operation, subject: Subject, amount_minor: int) -> Any:
    gateway, account, attempt = rig.gateway, rig.account, subject.attempt
    match operation:
        case Operation.PREPARE:
            return gateway.prepare(account, attempt)
        case Operation.SALE | Operation.AUTHORIZE:
            return gateway.send(account, attempt)
        case Operation.LOOK:
            return gateway.look(account, attempt)
        case Operation.CANCEL:
            return gateway.cancel(account, attempt)
        case Operation.CAPTURE:
            return gateway.capture(account, attempt, amount_minor)
        case Operation.REFUND | Operation.LOOK_AT_REFUND:
            assert subject.refund is not None
            if operation is Operation.REFUND:
                return gateway.refund(account, subject.refund)
            return gateway.look_at_refund(account, subject.refund)


def agrees(operation: Operation, answer: object) -> None:
    assert isinstance(answer, WELL[operation]), answer
    if isinstance(answer, Approved | Authorized | Refunded):
        assert (answer.amount_minor, answer.currency) == (AMOUNT, "EUR")


def disagrees(answer: object) -> bool:
    """It shows what is wrong, and is not taken for what was asked."""
    if isinstance(answer, Approved | Authorized | Refunded):
        return (answer.amount_minor, answer.currency) != (AMOUNT, "EUR")
    return isinstance(answer, Mismatched)


def is_done(rig: Rig, operation: Operation, subject: Subject) -> bool:
    """Whether the ledger shows it, once."""
    taken, held, back = rig.taken(subject), rig.held(subject), rig.given_back(subject)
    assert 0 <= back <= taken <= AMOUNT
    assert taken + held <= AMOUNT
    match operation:
        case Operation.PREPARE:
            return (taken, held) == (0, 0)
        case Operation.SALE | Operation.LOOK | Operation.CAPTURE:
            return taken == AMOUNT
        case Operation.AUTHORIZE:
            return (taken, held) == (0, AMOUNT)
        case Operation.CANCEL:
            return (taken, held) == (0, 0)
        case Operation.REFUND | Operation.LOOK_AT_REFUND:
            return back == AMOUNT


def nothing_moved(rig: Rig, subject: Subject) -> bool:
    return (rig.taken(subject), rig.held(subject)) == (0, 0)
