"""One walk: steps are taken, everything recovers, and the judge of the points is asked."""

import asyncio
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import aiohttp

from strongroom.ids import from_text, to_text
from tests.faults.points.exchanges import Exchange
from tests.faults.points.flows import Flow
from tests.faults.points.ground import Ground
from tests.faults.points.rows import NEXT_DUE_SQL
from tests.faults.points.trial import GONE, RETRY_SECONDS, STEP_SECONDS_MAX, Trial
from tests.faults.walks.steps import AMOUNT, COPIES_MAX, PAYMENTS_FIRST, Act, Step
from tests.faults.walks.struck import Strike, StruckTrial

RESTS_SECONDS_MAX: Final = 5.0
REST_SECONDS: Final = 0.25
STILL_SECONDS: Final = 0.06
SOON: Final = timedelta(minutes=10)
LOOKS_MAX: Final = 10
"""What is unknown is asked about every 15 s, for hours: after so many looks time leaps."""
HELD_BY_THE_CALLER: Final = ("authorized", "requires_action", "requires_payment_method")
PARTS: Final = frozenset({"payments", "refunds", "webhooks", "sequencer", "deliverer"})
ENDS: Final = frozenset({"succeeded", "failed", "canceled"})
FROZEN: Final = frozenset({"not_found_at_gateway", "refund_not_found"})
"""What may have been sent, and is not shown after 20 hours, is a person's: docs/errors.md."""
NOT_ENDED_SQL: Final = """
SELECT payment_id, status, closing FROM payments
WHERE status <> ALL ($1) AND coalesce(review, '') <> ALL ($2)
"""

LEFT_SQL: Final = """
SELECT p.payment_id, p.status, p.status_reason, p.closing, p.review, a.attempt_no, a.kind, a.state,
  a.gateway_object_id, jsonb_array_length(a.calls) AS calls, j.run_at, j.held, j.tries
FROM payments p LEFT JOIN attempts a USING (legal_entity_id, payment_id)
LEFT JOIN jobs j USING (legal_entity_id, payment_id) WHERE p.status <> ALL ($1)
"""


@dataclass(slots=True)
class Wanted:
    """A payment that a caller wants, and its id once it is known."""

    key: str
    body: dict[str, Any]
    created: asyncio.Future[str] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def gateway(self) -> str:
        """Where it is charged."""
        return str(self.body["instrument"]["gateway"])


class Walk(StruckTrial):
    """Several payments at once; `began` is how far the world's clock is ahead of the machine's."""

    still_seconds = STILL_SECONDS

    def __init__(
        self, ground: Ground, number: int, steps: list[Step], began: timedelta = timedelta()
    ) -> None:
        flow = Flow("walk", "both", _walk, PARTS, hears=True, ends=ENDS, frozen=FROZEN, leaps=True)
        super().__init__(ground, flow, number, began)
        self.steps = steps
        self._wanted: list[Wanted] = []
        self._asked: list[asyncio.Task[None]] = []
        self._gateways: dict[str, str] = {}
        self._keys = self._looks = 0
        self.taken: Counter[str] = Counter()
        """By what was asked for, how often it was answered 2xx."""
        self._closing = False

    def gateways_of(self, payment: str) -> tuple[str, ...]:
        """Where it may be charged."""
        return (self._gateways.get(payment, "stripe"),)

    async def run(self) -> list[str]:
        """Takes the steps and recovers; returns what does not hold."""
        self.ground.to_us.kept = []
        try:
            return await super().run()
        finally:
            for task in self._asked:
                task.cancel()
            await asyncio.gather(*self._asked, return_exceptions=True)

    async def take_steps(self) -> None:
        """All steps, then whatever brings everything to its end."""
        await self._tell_time()
        self._hear_here()
        for number, step in enumerate(self.steps):
            if number == PAYMENTS_FIRST:
                await asyncio.wait_for(self._wanted[0].created, STEP_SECONDS_MAX)
            await self._take(step)
            await self._let_pass(step.pace)
        self._weather.clear()
        self._wrong_by = timedelta()
        await self._tell_time()
        self.ground.lives.resume()
        await asyncio.gather(*self._asked)
        self._closing = True
        try:
            await self.until(self._all_have_ended, "an end of every payment")
        except AssertionError as problem:
            raise AssertionError(f"{problem}; {await self._left()}") from None

    async def _go_on(self) -> None:
        """Time goes on to what is due next; while the caller still acts, only to what is soon."""
        await self.ground.settle_refunds()
        if self._closing:
            await self._settle_all()
        [row] = await self.ground.fetch(NEXT_DUE_SQL, True)
        if (due := row["due"]) is None:
            return
        wait = due - self.ground.lives.now() + timedelta(milliseconds=2)
        if self._closing:
            self._looks += 1
            if self._looks % LOOKS_MAX == 0:  # and were they all late
                wait = max(wait, SOON * (self._looks // LOOKS_MAX))
        if wait > timedelta() and (self._closing or wait < SOON):
            await self._passes(wait)

    # Steps.

    async def _take(self, step: Step) -> None:
        match step.act:
            case Act.CREATE:
                self._create(step)
            case Act.AGAIN | Act.RIVAL | Act.CAPTURE | Act.CANCEL | Act.REFUND | Act.CONFIRM:
                wanted = self._wanted[step.which % len(self._wanted)]
                self._ask_for(self._asks(step, wanted))
            case Act.WEBHOOK:
                kept = self.ground.to_us.kept
                if kept:
                    self._ask_for(self._deliver(kept[step.which % len(kept)]))
            case Act.REST:
                await self._rest()
            case Act.PASSES:
                await self._passes(timedelta(hours=step.hours))
            case Act.SET:
                self._wrong_by = timedelta(hours=step.hours)
                await self._tell_time()
            case Act.WEATHER:
                assert step.fault is not None
                self._weather[step.gateway] = (step.fault, step.many)
            case Act.PAUSE:
                await self._pause(step.points)
            case Act.KILL | Act.STOPPED:
                self._strikes_to_come.append(Strike(step.fault, step.points))
            case Act.KILL_NOW:
                self.kills += self.ground.lives.is_living
                await self.ground.lives.kill()

    def _ask_for(self, asking: Any) -> None:
        self._asked.append(asyncio.create_task(asking))

    async def _rest(self) -> None:
        begun = time.monotonic()

        async def is_over() -> bool:
            return time.monotonic() - begun > REST_SECONDS

        await self.until(is_over, "some time")

    # What callers ask for.

    def _key(self, what: str) -> str:
        self._keys += 1
        return f"{what}-{self._keys}"

    def _create(self, step: Step) -> None:
        key = self._key("order")
        body = {
            "amount": AMOUNT, "currency": "EUR", "merchant_reference": f"{self.number}-{key}",
            "capture": "manual" if step.manual else "automatic",
            "instrument": {"gateway": step.gateway, "token": step.token},
        }  # fmt: skip
        self._wanted.append(wanted := Wanted(key, body))
        self._ask_for(self._order(wanted))

    async def _order(self, wanted: Wanted) -> None:
        status, answer = await self.ask("/v1/payments", wanted.body, wanted.key)
        assert status in (200, 201, 202), (status, answer)
        self._accept(answer["id"], wanted)
        wanted.created.set_result(answer["id"])

    def _accept(self, payment: str, wanted: Wanted) -> None:
        self.accepted[payment] = wanted.body["merchant_reference"]
        self._gateways[payment] = wanted.gateway

    async def _asks(self, step: Step, wanted: Wanted) -> None:
        if step.act is Act.AGAIN:
            copies = range(min(step.many, COPIES_MAX))
            await asyncio.gather(*(self._again(wanted) for _ in copies))
            return
        payment = await wanted.created
        if not step.hurries:
            await self._until_it_rests(payment)
        path = f"/v1/payments/{payment}"
        match step.act:
            case Act.RIVAL:
                status, answer = await self.ask("/v1/payments", wanted.body, self._key("rival"))
                assert status in (200, 201, 202, 409), (status, answer)
                if status != 409:
                    self._accept(answer["id"], wanted)
            case Act.CAPTURE:
                body = {} if step.amount is None else {"amount": step.amount}
                await self._may(f"{path}/capture", body, self._key("capture"))
            case Act.CANCEL:
                await self._may(f"{path}/cancel", {}, self._key("cancel"))
            case Act.REFUND:
                await self._refund(payment, wanted.gateway, step.amount or AMOUNT)
            case _:
                await self._act_and_confirm(payment)

    async def _until_it_rests(self, payment: str) -> None:
        """As callers do who look at it before they ask for more; a few do not wait long."""
        begun = time.monotonic()
        while time.monotonic() - begun < RESTS_SECONDS_MAX:
            with suppress(*GONE):
                if not await self.ground.fetch(
                    "SELECT FROM payments WHERE payment_id = $1 AND status IN ('processing', "
                    "'outcome_unknown')", from_text("pay", payment),
                ):  # fmt: skip
                    return
            await asyncio.sleep(RETRY_SECONDS)

    async def _again(self, wanted: Wanted) -> None:
        status, answer = await self.ask("/v1/payments", wanted.body, wanted.key)
        assert status in (200, 201, 202), (status, answer)
        first = await wanted.created
        assert answer["id"] == first, f"the same key gave {first} and {answer['id']}"

    async def _may(self, path: str, body: dict[str, Any], key: str | None = None) -> int:
        """What may be refused, in so many words."""
        status, answer = await self.ask(path, body, key)
        assert status < 300 or (400 <= status < 500 and answer.get("code")), (path, status, answer)
        self.taken[path.rpartition("/")[2]] += status < 300
        return status

    async def _refund(self, payment: str, gateway: str, amount: int) -> None:
        if gateway == "braintree":
            await self._settle(payment)
        body = {"payment": payment, "amount": amount}
        status, answer = await self.ask("/v1/refunds", body, self._key("refund"))
        assert status < 300 or answer.get("code"), (status, answer)
        self.taken["refund"] += status < 300
        if status < 300:
            self.refunds[answer["id"]] = amount

    async def _act_and_confirm(self, payment: str) -> None:
        with suppress(*GONE):
            rows = await self.ground.fetch(
                "SELECT next_action FROM payments WHERE status = 'requires_action'"
            )
            for row in rows:
                with suppress(aiohttp.ClientError):  # the provider is unwell; the customer gives up
                    await self.act_on(row["next_action"])
        await self._may(f"/v1/payments/{payment}/confirm", {})

    async def _deliver(self, kept: Exchange) -> None:
        """Until it is taken or refused, as a provider does."""
        while True:
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                assert self._session is not None
                url = f"http://127.0.0.1:{self.ground.port}{kept.path}"
                async with self._session.post(url, data=kept.body, headers=kept.headers) as reply:
                    assert reply.status != 500, f"500 for a webhook: {await reply.text()}"
                    if reply.status != 503:
                        return
            await self._revive()
            await asyncio.sleep(RETRY_SECONDS)

    # The end.

    async def _all_have_ended(self) -> bool:
        """Whether all have; who would ask for what waits for the caller does, in one way or the
        other."""
        rows = await self.ground.fetch(NOT_ENDED_SQL, list(ENDS), list(FROZEN))
        for row in rows:
            if row["status"] in HELD_BY_THE_CALLER and row["closing"] is None:
                payment = to_text("pay", row["payment_id"])
                captures = row["status"] == "authorized" and row["payment_id"].int % 2
                what = "capture" if captures else "cancel"
                await self._may(f"/v1/payments/{payment}/{what}", {}, self._key(what))
        return not rows

    async def _left(self) -> list[dict[str, Any]]:
        rows = await self.ground.fetch(LEFT_SQL, list(ENDS))
        return [{name: str(value) for name, value in row.items()} for row in rows]

    async def _settle_all(self) -> None:
        for row in await self.ground.fetch(
            "SELECT payment_id FROM payments JOIN jobs USING (legal_entity_id, payment_id) "
            "WHERE status = 'succeeded'"
        ):
            await self._settle(to_text("pay", row["payment_id"]))

    async def _settle(self, payment: str) -> None:
        """Braintree's nightly batch, where there is something to be settled."""
        charges = await self.ground.charges_of("braintree", payment)
        for charge in charges:
            if charge["kind"] == "taken" and charge["status"] != "settled":
                await self.ground.settle_there(charge["id"])


async def _walk(trial: Trial) -> None:
    assert isinstance(trial, Walk)
    await trial.take_steps()
