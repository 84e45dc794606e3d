"""One run of a flow: without a fault it counts points, with one it recovers and is judged."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import timedelta
from typing import Any, Final

import aiohttp
import asyncpg

from tests.faults.points.flows import Flow
from tests.faults.points.ground import Ground
from tests.faults.points.points import Cell, Fault, Kind, Point
from tests.faults.points.rows import ALIKE, LEAKS_SQL, NEXT_DUE_SQL, STATE_SQL, digest_at, stands
from tests.faults.points.verdict import findings_of

ANSWER_SECONDS_MAX: Final = 6.0
RETRY_SECONDS: Final = 0.05
STEP_SECONDS_MAX: Final = 40.0
"""For each thing that a flow waits for; what takes longer is stuck."""
LOOK_SECONDS: Final = 0.02
GONE: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


class Trial:
    """One flow on a ground, with the faults of some cells, one after the other, or without.

    `records`: of which kinds is kept what is met once they have struck.
    """

    still_seconds = 0.15
    """When nothing has changed for so long, the clock goes on to what is due next."""

    def __init__(
        self, ground: Ground, flow: Flow, number: int, *cells: Cell, records: Collection[Kind] = ()
    ) -> None:
        self.ground, self.flow, self.cells, self.number = ground, flow, cells, number
        self.points: set[Point] = set()
        """What was met with no fault to come, where that is recorded."""
        self.world = timedelta()
        """How far the world's clock is ahead of the machine's."""
        self._records, self._strikes = records, 0
        self.accepted: dict[str, str] = {}
        """By id, the merchant reference of each payment that was answered 2xx."""
        self.refunds: dict[str, int] = {}
        """By id, the amount of each refund that was answered 2xx."""
        self._looking = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None
        self._over = self._lost = False

    @property
    def struck(self) -> bool:
        """Whether a fault has struck."""
        return self._strikes > 0

    @property
    def to_come(self) -> tuple[Cell, ...]:
        """The cells that have not struck yet; each strikes only after the one before it."""
        return self.cells[self._strikes :]

    def gateways_of(self, payment: str) -> tuple[str, ...]:
        """Where it may be charged."""
        return self.flow.gateways

    async def run(self) -> list[str]:
        """Runs the flow and its recovery; returns what does not hold."""
        self.ground.lives.set_clock(self.world)
        await self.ground.clone()
        self.ground.to_us.is_deaf = not self.flow.hears
        self.ground.to_stripe.holds = self.flow.holds
        self.ground.receiver.forget()
        if any(cell.fault is Fault.STOPPED for cell in self.cells):
            await self.ground.checkpoint()
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX)
        async with aiohttp.ClientSession(timeout=timeout) as self._session:
            try:
                await self._begin()
                await self.flow.play(self)
                await self.until_quiet()
                left_open = await self.ground.fetch(LEAKS_SQL)
                await self.ground.still()
                return [f"left open: {dict(row)}" for row in left_open] + await findings_of(self)
            except AssertionError as problem:
                return [f"{type(problem).__name__}: {problem}"]
            finally:
                self._over = True
                await self.ground.lives.kill_all()

    async def _begin(self) -> None:
        asks = {cell.point.place for cell in self.to_come if cell.point.kind is Kind.AWAIT}
        at_all = Kind.AWAIT in self._records
        await self.ground.lives.begin(self.flow.parts, None if at_all else asks)

    # What the wires ask.

    async def watch(self, kind: Kind, place: str) -> Fault | None:
        """What is to go wrong at a place now."""
        if self._over:
            return None
        fault = await self._chosen(kind, place)
        loses = self.flow.loses
        if fault is None and loses and not self._lost and place.endswith(loses):
            self._lost = kind is Kind.EXCHANGE
            return Fault.DROP_AFTER if self._lost else None
        return fault

    async def _chosen(self, kind: Kind, place: str) -> Fault | None:
        if not self.to_come:
            if kind in self._records:
                async with self._looking:
                    self.points.add(Point(kind, place, await self.state(place)))
            return None
        cell = self.to_come[0]
        if kind is not cell.point.kind or place != cell.point.place:
            return None
        async with self._looking:
            if cell not in self.to_come[:1] or await self.state(place) != cell.point.state:
                return None
            self._strikes += 1
        return cell.fault

    async def state(self, place: str = "") -> str:
        """A digest of the rows as they are committed, as far as it tells states apart there."""
        digest = digest_at(place, self.flow.parts) if place else "whole"
        if digest == ALIKE:
            return ALIKE
        try:
            return str((await self.ground.fetch(STATE_SQL))[0][digest])
        except GONE:
            return "gone"

    # What a flow does.

    async def ask(
        self, path: str, body: dict[str, Any], key: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """POST, sent again with the same key until there is an answer; its status and body."""
        headers = {"Authorization": f"Bearer {self.ground.dev.api_key}"}
        if key is not None:
            headers["Idempotency-Key"] = f"{self.number}-{key}"
        begun = time.monotonic()
        while time.monotonic() - begun < STEP_SECONDS_MAX:
            await self._revive()
            try:
                assert self._session is not None
                url = f"http://127.0.0.1:{self.ground.port}{path}"
                async with self._session.post(url, json=body, headers=headers) as reply:
                    status, answer = reply.status, await reply.json(content_type=None)
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
                status, answer = 0, {}
            assert status != 500, f"500 for {path}: {answer}"
            if status not in (0, 503):
                return status, answer
            await asyncio.sleep(RETRY_SECONDS)
        raise AssertionError(f"{path} was never answered")

    async def pay(self, reference: str = "order", **more: Any) -> str:
        """A payment of 19.99, as the flow's gateway takes it; its id."""
        body = {
            "amount": 1999, "currency": "EUR", "merchant_reference": f"{self.number}-{reference}",
            "instrument": self.flow.instrument(), **more,
        }  # fmt: skip
        body = {name: value for name, value in body.items() if value is not None}
        status, answer = await self.ask("/v1/payments", body, reference)
        assert status in (200, 201, 202), (status, answer)
        self.accepted[answer["id"]] = body["merchant_reference"]
        return str(answer["id"])

    async def refund(self, payment: str, amount: int, key: str = "refund") -> int:
        """A refund of it; the status of the answer."""
        status, answer = await self.ask("/v1/refunds", {"payment": payment, "amount": amount}, key)
        if status < 300:
            self.refunds[answer["id"]] = amount
        return status

    async def status(self) -> str:
        """Where the only payment stands."""
        rows = await self.ground.fetch("SELECT status FROM payments ORDER BY payment_id")
        return str(rows[0]["status"]) if rows else "none"

    async def settle_there(self, payment: str) -> None:
        """Braintree's nightly batch has settled the payment: only then can it be refunded."""
        [charge] = await self.ground.charges_of("braintree", payment)
        await self.ground.settle_there(charge["id"])

    async def complete_action(self) -> None:
        """The customer does what the gateway asks, on the gateway's own page."""
        [row] = await self.ground.fetch("SELECT next_action FROM payments")
        await self.act_on(row["next_action"])

    async def act_on(self, next_action: str) -> None:
        """What a row says that the customer has to do."""
        url = json.loads(next_action)["url"]
        assert self._session is not None
        async with self._session.post(f"{url}/complete", allow_redirects=False) as answer:
            assert answer.status in (303, 409), answer.status

    async def until_status(self, *statuses: str) -> str:
        """Waits until the first payment stands at one of them, time going on as needed."""

        async def stands_there() -> bool:
            return await self.status() in statuses

        await self.until(stands_there, f"a payment in {statuses}")
        return await self.status()

    async def until_card_is_saved(self) -> None:
        """Waits until the only payment method is ready."""

        async def is_saved() -> bool:
            rows = await self.ground.fetch("SELECT status FROM payment_methods")
            return [row["status"] for row in rows] == ["ready"]

        await self.until(is_saved, "a card that is saved")

    async def until_quiet(self) -> None:
        """Waits until nothing is left to be done."""
        left: Sequence[str] = ()

        async def is_quiet() -> bool:
            nonlocal left
            left = await stands(self.ground, self.flow)
            return not left

        try:
            await self.until(is_quiet, "an end of everything")
        except AssertionError as problem:
            raise AssertionError(f"{problem}; left: {list(left)[:6]}") from None

    async def until(self, holds: Callable[[], Awaitable[bool]], what: str) -> None:
        """Waits for it; whoever has died is started again, and the clock goes on when all rests."""
        begun = changed = time.monotonic()
        before = ""
        while time.monotonic() - begun < STEP_SECONDS_MAX:
            await self._revive()
            try:
                if await holds():
                    return
                now = await self.state()
                if now != before:
                    before, changed = now, time.monotonic()
                if time.monotonic() - changed > self.still_seconds:
                    await self._go_on()
            except GONE:
                pass  # the database is on its way back
            await asyncio.sleep(LOOK_SECONDS)
        raise AssertionError(f"waited in vain for {what}")

    async def _go_on(self) -> None:
        """The clock goes on to what is due next; to the end of a lease only after a fault."""
        if self.flow.gateway == "braintree":
            await self.ground.settle_refunds()
        [row] = await self.ground.fetch(NEXT_DUE_SQL, self.struck)
        if (due := row["due"]) is not None and due > self.ground.lives.now():
            self.ground.lives.go_on(due - self.ground.lives.now() + timedelta(milliseconds=2))

    async def _revive(self) -> None:
        if not self.ground.lives.is_living:
            await self._begin()
