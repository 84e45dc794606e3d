"""Every cell of the tax services' matrix: answered as the port says, done once, its id known."""

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final

import pytest

from strongroom.clock import SystemClock
from strongroom.gateways.stripe.tax import StripeTax
from strongroom.payments.refunds import Refused
from strongroom.payments.states import Call, NotSent, Unknown
from strongroom.tax.calculations import Asked, AskedLine, Calculated, Place, Recorded
from tests.conformance.matrix import FAULTS, TIMEOUTS, Condition
from tests.conformance.taxes import NAMES, TAX_CELLS, TaxOperation
from tests.integration.stripe_adapter.asking import Keys, account_at, until_struck
from tests.sandbox.conftest import SECRET_KEY, RunningStripe

DEADLINE_SECONDS: Final = 0.7
PATIENCE_SECONDS: Final = 60.0
BERLIN: Final = Place(country="DE", postal_code="10115")
TOTAL: Final = 11_900
Answer = tuple[Any, Call]
numbers = itertools.count()


class TaxRig:
    """Stripe Tax before its stand-in, whose ledger tells what was reported."""

    def __init__(self, server: RunningStripe) -> None:
        self.server = server
        self.taxes = StripeTax(SystemClock(), Keys(SECRET_KEY), mode="dev")
        self.account = account_at(server.url)
        self.reference = f"pay_{uuid.uuid4().hex}"
        self.key = self.new_key()

    def new_key(self) -> str:
        return f"{self.reference}_{next(numbers)}"

    def calculate(
        self, place: Place = BERLIN, key: str | None = None
    ) -> Coroutine[Any, Any, Answer]:
        asked = Asked(currency="EUR", lines=(AskedLine(10_000, "ticket"),), place=place)
        return self.taxes.calculate(self.account, asked, key or self.new_key())

    def reverse(
        self, sale: str, amount: int, reference: str, key: str
    ) -> Coroutine[Any, Any, Answer]:
        return self.taxes.reverse(self.account, sale, amount, "EUR", reference, key)

    async def ready(self, operation: TaxOperation) -> str:
        """What the operation works on: an id at the service."""
        found, _ = await self.calculate()
        assert isinstance(found, Calculated), found
        if operation in (TaxOperation.CALCULATE, TaxOperation.RECORD):
            return found.object_id
        of = self.account, found.object_id, f"{self.reference}-sale", self.new_key()
        sale, _ = await self.taxes.record(*of)
        if operation is TaxOperation.REVERSE:
            return str(sale.object_id)
        back, _ = await self.reverse(
            str(sale.object_id), 1190, f"{self.reference}-back", self.new_key()
        )
        return str(back.object_id)

    def ask(self, operation: TaxOperation, of: str, key: str) -> Coroutine[Any, Any, Answer]:
        match operation:
            case TaxOperation.CALCULATE:
                return self.calculate(key=key)
            case TaxOperation.RECORD:
                return self.taxes.record(self.account, of, self.reference, key)
            case TaxOperation.REVERSE:
                return self.reverse(of, 1190, self.reference, key)
            case TaxOperation.UNDO:
                return self.taxes.undo(self.account, of, self.reference, key)

    def done(self, operation: TaxOperation, before: int) -> int:
        """How often it was done: a calculation made, or a report under the reference."""
        ledger = self.server.control("GET", "/_ledger/tax")
        if operation is TaxOperation.CALCULATE:
            return int(ledger["calculations"]) - before
        return sum(one["reference"] == self.reference for one in ledger["data"])

    def calculations(self) -> int:
        return int(self.server.control("GET", "/_ledger/tax")["calculations"])


@pytest.fixture
async def service(stand_ins: Callable[[str], RunningStripe]) -> AsyncIterator[TaxRig]:
    found = TaxRig(stand_ins("stripe"))
    yield found
    found.server.control("DELETE", "/_knobs")
    await found.taxes.close()


def went_well(operation: TaxOperation, answer: object) -> None:
    if operation is TaxOperation.CALCULATE:
        assert isinstance(answer, Calculated), answer
        assert (answer.total_minor, answer.exclusive_minor) == (TOTAL, 1900)
    else:
        assert isinstance(answer, Recorded), answer
        assert answer.object_id is not None


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("operation", "condition"), TAX_CELLS, ids=str)
async def test_a_tax_service_answers_as_the_port_says(
    service: TaxRig, operation: TaxOperation, condition: Condition
) -> None:
    of = await service.ready(operation)
    before = service.calculations()
    match condition:
        case Condition.OK:
            went_well(operation, (await service.ask(operation, of, service.key))[0])
        case Condition.DECLINED:
            await is_refused(service, operation)
            return
        case Condition.DUPLICATE:
            await is_asked_twice(service, operation, of)
        case Condition.IN_FLIGHT:
            await is_asked_while_under_way(service, operation, of)
        case _:
            await goes_wrong(service, operation, condition, of)
    if operation is TaxOperation.CALCULATE and condition is Condition.ERROR_AFTER:
        return  # another one under another key: nothing is reported by either
    assert service.done(operation, before) == 1


async def is_refused(service: TaxRig, operation: TaxOperation) -> None:
    if operation is TaxOperation.CALCULATE:
        answer, call = await service.calculate(Place(country="US"))
        assert answer == Refused("customer_tax_location_invalid")
    else:
        answer, call = await service.ask(operation, "tax_nobody_knows", service.key)
        assert isinstance(answer, Refused), answer
        assert service.done(operation, 0) == 0
    assert call.http_status == 400


async def is_asked_twice(service: TaxRig, operation: TaxOperation, of: str) -> None:
    """Under one key it is the same one; under another its reference says that it stands."""
    first, _ = await service.ask(operation, of, service.key)
    again, _ = await service.ask(operation, of, service.key)
    assert again == first
    if operation is not TaxOperation.CALCULATE:
        other, _ = await service.ask(operation, of, service.new_key())
        assert other == Recorded(None)


async def is_asked_while_under_way(service: TaxRig, operation: TaxOperation, of: str) -> None:
    match = {"operation": NAMES[operation], "first_n": 1}
    service.server.knobs({"match": match, "fault": "delay", "delay_ms": 2000})
    under_way = asyncio.create_task(service.ask(operation, of, service.key))
    await until_struck(service.server)
    second, _ = await service.ask(operation, of, service.key)
    assert second == Unknown("in_flight_at_gateway")
    went_well(operation, (await under_way)[0])


async def goes_wrong(
    service: TaxRig, operation: TaxOperation, condition: Condition, of: str
) -> None:
    rule: dict[str, Any] = {
        "match": {"operation": NAMES[operation], "first_n": 1},
        "fault": FAULTS[condition],
    }
    if condition in TIMEOUTS:
        rule["hold_seconds"] = 5
    service.server.knobs(rule)
    try:
        async with asyncio.timeout(DEADLINE_SECONDS if condition in TIMEOUTS else PATIENCE_SECONDS):
            answer, _ = await service.ask(operation, of, service.key)
    except TimeoutError:
        assert condition in TIMEOUTS
    else:
        expected = NotSent if condition is Condition.RATE_LIMITED else Unknown
        assert isinstance(answer, expected), answer
    service.server.control("DELETE", "/_knobs")
    # Sent again under its key it comes to its end: with its id, and without a second one.
    again, _ = await service.ask(operation, of, service.key)
    if condition is Condition.ERROR_AFTER and isinstance(again, Unknown):
        # What is kept under the key is the error: the reference tells under another.
        again, _ = await service.ask(operation, of, service.new_key())
        if operation is not TaxOperation.CALCULATE:
            assert again == Recorded(None)
        return
    went_well(operation, again)
