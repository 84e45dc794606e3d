"""Callers who write texts into payments and refunds, and hold every answer against them."""

import asyncio
import random
import string
import time
from collections import Counter
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, NamedTuple

import aiohttp

from tests.faults.deployment import Deployment

ANSWER_SECONDS_MAX: Final = 20.0
WAIT: Final = {"Prefer": "wait=5"}
GOOD: Final = (200, 201, 202)
AMOUNT: Final = 2000
REFUND: Final = 100
REFUNDS_MAX: Final = 8
"""Of one payment, so that each can be paid out."""
STOCKED_AT_ONCE: Final = 100
STOCKED_SECONDS_MAX: Final = 120.0
PAGE_MAX: Final = 30
WORD_LETTERS: Final = 24
FINDINGS_SHOWN_MAX: Final = 8

Texts = dict[str, Any]


@dataclass(slots=True)
class Written:
    """A payment that was answered 2xx, and the request that a replay sends again."""

    payment_id: str
    body: dict[str, Any]
    key: str
    is_paid: bool = False
    refunds: int = 0


class Answered(NamedTuple):
    """When a request was answered with success, and how long that took."""

    at: float
    seconds: float
    what: str


class Pace(NamedTuple):
    """How fast answers came for a while."""

    answers: int
    longest_gap: float
    """Between two successes of one caller, its own rest included."""
    longest: float
    longest_what: str

    def __str__(self) -> str:
        return (
            f"{self.answers} answers, longest gap {self.longest_gap:.3f} s, "
            f"longest latency {self.longest:.3f} s ({self.longest_what})"
        )


@dataclass(slots=True)
class Writers:
    """Each keeps its connection, asks for one thing at a time, and rests a little in between."""

    deployment: Deployment
    callers: int = 12
    rest_seconds: float = 0.05
    written: dict[str, Written] = field(default_factory=dict)
    """By the payment's id."""
    refunds: dict[str, Texts] = field(default_factory=dict)
    """By the refund's id, its metadata."""
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    """What was refused, cut off, or answered with a text that nobody wrote there."""
    _answered: list[list[Answered]] = field(default_factory=list)
    _number: int = 0
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    @property
    def accepted(self) -> dict[str, str]:
        """Merchant reference → payment id of everything that was answered 2xx."""
        return {one.body["merchant_reference"]: one.payment_id for one in self.written.values()}

    @property
    def refunded(self) -> dict[str, int]:
        """Refund id → amount of everything that was answered 2xx."""
        return dict.fromkeys(self.refunds, REFUND)

    def begin(self) -> None:
        """From now on they ask."""
        self._tasks = [asyncio.create_task(self._caller()) for _ in range(self.callers)]

    async def end(self) -> None:
        """No new requests; returns when all are answered."""
        self._over.set()
        await asyncio.gather(*self._tasks)

    def check(self) -> None:
        """Raises AssertionError with what was answered wrongly so far, and for who gave up."""
        assert not self.findings, self.findings[:FINDINGS_SHOWN_MAX]
        for task in self._tasks:
            if task.done() and not self._over.is_set():
                task.result()

    def pace(self, begun: float, ended: float) -> Pace:
        """What was answered between two moments, and gaps that reach into that time."""
        inside = [one for of in self._answered for one in of if begun <= one.at <= ended]
        gaps = [
            after.at - before.at
            for of in self._answered
            for before, after in pairwise(of)
            if before.at < ended and after.at > begun
        ]
        longest = max(inside, key=lambda one: one.seconds)
        return Pace(len(inside), max(gaps), longest.seconds, longest.what)

    async def _caller(self) -> None:
        mine: list[Answered] = []
        self._answered.append(mine)
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX)
        does = (self.create, self.read, self.replay, self.refund, self.read_refund, self.page)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            asking = Asking(self, session, mine)
            while not self._over.is_set():
                await random.choice(does)(asking)
                await asyncio.sleep(random.uniform(0, 2 * self.rest_seconds))

    async def create(self, ask: "Asking") -> None:
        """A payment with texts, charged before the answer."""
        new = self._new()
        answer = await ask("create", "POST", "/v1/payments", new.body, new.key)
        if answer is not None:
            self._keep(new, answer)

    async def read(self, ask: "Asking") -> None:
        """A payment, stocked or new."""
        await self._read(ask, random.choice(list(self.written.values())))

    async def replay(self, ask: "Asking") -> None:
        """An earlier request once more: the same payment, and the same texts."""
        one = random.choice(list(self.written.values()))
        answer = await ask("replay", "POST", "/v1/payments", one.body, one.key)
        if answer is not None and answer["id"] != one.payment_id:
            self.findings.append(f"the replay of {one.payment_id} is {answer['id']}")
        self._compare("replay", one, answer)

    async def refund(self, ask: "Asking") -> None:
        """A part of a payment goes back, with a note."""
        await self._refund(ask, random.choice(list(self.written.values())))

    async def read_refund(self, ask: "Asking") -> None:
        """A refund, stocked or new."""
        await self._read_refund(ask, random.choice(list(self.refunds)))

    async def page(self, ask: "Asking") -> None:
        """The newest payments, some of which may not be answered yet to who made them."""
        path = f"/v1/payments?limit={random.randint(1, PAGE_MAX)}"
        answer = await ask("list", "GET", path)
        for found in answer["data"] if answer else ():
            if found["id"] in self.written:
                self._compare("list", self.written[found["id"]], found)

    # What was there before, and what can be read at the end.

    async def stock(self, count: int) -> None:
        """So many payments, all charged, and a refund of every other one."""
        async with aiohttp.ClientSession() as session:
            ask = Asking(self, session, [])
            for start in range(0, count, STOCKED_AT_ONCE):
                many = [self._new() for _ in range(min(STOCKED_AT_ONCE, count - start))]
                items = [new.body | {"idempotency_key": new.key} for new in many]
                answer = await ask("bulk", "POST", "/v1/payments/bulk", {"payments": items})
                for new, result in zip(many, answer["results"], strict=True):
                    self._keep(new, result["payment"])
            async with asyncio.timeout(STOCKED_SECONDS_MAX):
                for one in self.written.values():
                    while not one.is_paid:
                        await self._read(ask, one)
            await self._each(self._refund(ask, one) for one in list(self.written.values())[::2])

    async def read_all(self) -> int:
        """Every payment and every refund once; returns how many."""
        async with aiohttp.ClientSession() as session:
            ask = Asking(self, session, [])
            await self._each(self._read(ask, one) for one in self.written.values())
            await self._each(self._read_refund(ask, refund_id) for refund_id in self.refunds)
        return len(self.written) + len(self.refunds)

    async def _each(self, work: Iterable[Awaitable[None]]) -> None:
        """As many at once as there are callers."""
        waiting = iter(work)

        async def one_by_one() -> None:
            for one in waiting:
                await one

        await asyncio.gather(*(one_by_one() for _ in range(self.callers)))

    async def _read(self, ask: "Asking", one: Written) -> None:
        answer = await ask("read", "GET", f"/v1/payments/{one.payment_id}")
        self._compare("read", one, answer)

    async def _refund(self, ask: "Asking", one: Written) -> None:
        if not one.is_paid or one.refunds >= REFUNDS_MAX:
            return
        one.refunds += 1
        note = {"note": f"zurück {word()}"}
        body = {"payment": one.payment_id, "amount": REFUND, "metadata": note}
        answer = await ask("refund", "POST", "/v1/refunds", body, word())
        if answer is not None:
            self.refunds[answer["id"]] = note
            self._compare_refund("refund", answer)

    async def _read_refund(self, ask: "Asking", refund_id: str) -> None:
        answer = await ask("read refund", "GET", f"/v1/refunds/{refund_id}")
        if answer is not None:
            self._compare_refund("read refund", answer)

    def _new(self) -> Written:
        self._number += 1
        body: dict[str, Any] = {
            "amount": AMOUNT + self._number,
            "currency": "EUR",
            "merchant_reference": f"written-{self._number:05d}",
            "instrument": {"gateway": "stripe", "token": "pm_card_visa"},
            "description": f"Für {word()}, row {self._number}",
            "metadata": {"seat": word(), "ключ": word()},
        }
        return Written("", body, word())

    def _keep(self, new: Written, answer: dict[str, Any]) -> None:
        new.payment_id = answer["id"]
        self.written[new.payment_id] = new
        self._compare("create", new, answer)

    def _compare(self, what: str, one: Written, answer: dict[str, Any] | None) -> None:
        if answer is None:
            return  # which is a finding already
        one.is_paid = one.is_paid or answer["status"] == "succeeded"
        for name in ("description", "metadata", "amount", "merchant_reference"):
            if answer[name] != one.body[name]:
                told = (
                    f"{what} of {one.payment_id}: {name} {answer[name]!r}, not {one.body[name]!r}"
                )
                self.findings.append(told)

    def _compare_refund(self, what: str, answer: dict[str, Any]) -> None:
        note = self.refunds[answer["id"]]
        if answer["metadata"] != note:
            told = f"{what} of {answer['id']}: {answer['metadata']!r}, not {note!r}"
            self.findings.append(told)


@dataclass(slots=True)
class Asking:
    """One connection of one caller, and when it was answered."""

    writers: Writers
    session: aiohttp.ClientSession
    answered: list[Answered]

    async def __call__(
        self, what: str, method: str, path: str, body: object = None, key: str | None = None
    ) -> Any:
        """The answer's body when it was a success, else None; a POST with a key waits its end."""
        ready = self.writers.deployment.ready
        sent = {"Authorization": f"Bearer {ready['api_key']}"}
        if key is not None:
            sent |= {"Idempotency-Key": key, **WAIT}
        begun = time.monotonic()
        try:
            async with self.session.request(
                method, ready["api_url"] + path, json=body, headers=sent
            ) as reply:
                status, answer = reply.status, await reply.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.writers.findings.append(f"{what} was cut off: {type(error).__name__}")
            return None
        self.writers.answers[what, status] += 1
        if status not in GOOD:
            self.writers.findings.append(f"{what} was answered {status}: {answer}")
            return None
        now = time.monotonic()
        self.answered.append(Answered(now, now - begun, what))
        return answer


def word() -> str:
    """Letters by chance; digits might look like a card number."""
    return "".join(random.choices(string.ascii_lowercase, k=WORD_LETTERS))
