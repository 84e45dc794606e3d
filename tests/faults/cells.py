"""One cell of the grid: a fault between two processes while money moves, and its judgement."""

import asyncio
import json
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import aiohttp

from strongroom.log.cosignatures import CosignatureVerifier, witnessed
from tests.faults.cable import FAULTS, Fault
from tests.faults.cashiers import Cashiers
from tests.faults.judge import judge, until_ended
from tests.faults.judge_braintree import judge as judge_braintree
from tests.faults.judge_braintree import until_paid
from tests.faults.judge_refunds import judge_refunds, until_none_is_open
from tests.faults.judged_log import judge_logs, until_signed
from tests.faults.left_over import open_files, until_nothing_is_left
from tests.faults.net import PAIRS, Net
from tests.faults.shoppers import Order, Shoppers

PER_SECOND: Final = 12
REFUND_EACH: Final = 3
"""With each third order, a part of an earlier payment is given back."""
REFUND_OF: Final = 24
"""So many orders earlier; refused, where that has not been charged yet."""
REFUND: Final = 100
LEAD_SECONDS: Final = 0.5
TAIL_SECONDS: Final = 0.5
END_SECONDS_MAX: Final = 90.0
SECONDS: Final[dict[Fault, float]] = {
    "latency": 3.0,
    "loss": 4.0,
    "drip": 3.0,
    "partition": 7.0,
    "answers_lost": 7.0,
    "half_open": 9.0,
    "reset": 2.0,
}
"""How long each is on: silence for longer than any deadline of the other end, which is 5 s at the
database, 2 s at gateways and 8 s at our clients."""
LOOK_SECONDS: Final = 0.25

Cell = tuple[str, Fault]


class Tried(NamedTuple):
    """How one cell went; `healed_seconds` is how long payments lasted beyond the fault."""

    payments: int
    refunds: int
    felt: int
    healed_seconds: float


@dataclass(slots=True)
class Grid:
    """Which cells were tried, and how."""

    tried: dict[Cell, Tried] = field(default_factory=dict)

    def missing(self, wanted: Iterable[Cell]) -> list[Cell]:
        """What was to be tried and was not."""
        return [cell for cell in wanted if cell not in self.tried]

    def __str__(self) -> str:
        """A row for each pair: of each cell, payments, and how long the end of the last took."""
        width = max(map(len, PAIRS))
        lines = [" " * width + "".join(f"{fault:>15}" for fault in FAULTS)]
        for pair in PAIRS:
            found = [self.tried.get((pair, fault)) for fault in FAULTS]
            shown = [_shown(one) for one in found]
            if any(found):
                lines.append(f"{pair:<{width}}" + "".join(f"{text:>15}" for text in shown))
        return "\n".join(lines)


def _shown(one: Tried | None) -> str:
    return "-" if one is None else f"{one.payments:>6} {one.healed_seconds:5.1f} s"


class Ledger:
    """The Braintree stand-in of a deployment, as its judge asks it."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url, token

    def control(self, method: str, path: str) -> Any:
        asked = urllib.request.Request(
            self._url + path, method=method, headers={"X-Knob-Token": self._token}
        )
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return json.load(answer)

    def charges(self, *, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control(
            "GET", f"/_ledger/charges?limit=10000&kind={kind}"
        )["data"]
        return found


@dataclass(slots=True)
class Trial:
    """Cells of one deployment, one after another; each is judged with all that was before it."""

    net: Net
    grid: Grid
    gateway: str = "stripe"
    shoppers: Shoppers = field(init=False)
    cashiers: Cashiers = field(init=False)
    files: Counter[str] = field(init=False)
    _number: int = 0

    def __post_init__(self) -> None:
        self.shoppers, self.cashiers = Shoppers(self.net.deployment), Cashiers(self.net.deployment)
        self.files = open_files(self.net.deployment)

    async def cell(self, pair: str, fault: Fault) -> None:
        """Raises AssertionError, with the name of the cell, for whatever does not hold."""
        cable, over = self.net.cables[pair], asyncio.Event()
        accepted, refunds = len(self.shoppers.accepted), len(self.cashiers.refunds)
        traffic = asyncio.create_task(self._traffic(over))
        try:
            await asyncio.sleep(LEAD_SECONDS)
            await cable.put(fault)
            await asyncio.sleep(SECONDS[fault])
            await cable.heal()
            felt = cable.felt
            healed = time.monotonic()
            await asyncio.sleep(TAIL_SECONDS)
            over.set()
            await traffic
            assert felt, "nothing came upon the fault"
            await self._until_ended()
            healed_seconds = time.monotonic() - healed
            await self._judge()
        except AssertionError as finding:
            raise AssertionError(f"{pair}, {fault}: {finding}\n{self.grid}") from finding
        finally:
            over.set()
            traffic.cancel()
        tried = Tried(
            len(self.shoppers.accepted) - accepted,
            len(self.cashiers.refunds) - refunds,
            felt,
            healed_seconds,
        )
        assert tried.payments, (pair, fault)
        self.grid.tried[pair, fault] = tried
        print(f"{pair}, {fault}: {tried}, answers {dict(self.shoppers.answers)}")

    async def _traffic(self, over: asyncio.Event) -> None:
        """Orders at a pace, whatever happens; returns when the last one is answered."""
        sending: list[asyncio.Task[None]] = []
        async with self.shoppers.session() as session:
            while not over.is_set():
                sending.append(asyncio.create_task(self._buy(session)))
                await asyncio.sleep(1 / PER_SECOND)
            await asyncio.gather(*sending)

    async def _buy(self, session: aiohttp.ClientSession) -> None:
        self._number += 1
        number = self._number
        token = "pm_card_visa" if self.gateway == "stripe" else "fake-valid-visa-nonce"
        order = Order(f"cell-{number:05d}", token, amount=1000 + number, gateway=self.gateway)
        await self.shoppers.send(session, order)
        if number % REFUND_EACH == 0 and self.gateway == "stripe":
            earlier = self.shoppers.accepted.get(f"cell-{number - REFUND_OF:05d}")
            if earlier is not None:
                await self.cashiers.refund(session, earlier, REFUND)

    async def end(self) -> None:
        """Raises AssertionError for what is still open when nothing has happened for a while."""
        await until_nothing_is_left(self.net.deployment, self.files)

    async def _until_ended(self) -> None:
        if self.gateway == "braintree":
            await until_paid(self.net.deployment)
        else:
            await until_ended(self.net.deployment, END_SECONDS_MAX)
            await until_none_is_open(self.net.deployment, END_SECONDS_MAX)

    async def _judge(self) -> None:
        """All that has to hold of everything so far."""
        deployment, shoppers = self.net.deployment, self.shoppers
        assert not shoppers.refused, shoppers.refused
        assert not shoppers.unanswered, shoppers.unanswered
        assert shoppers.answers["500"] == 0, shoppers.answers
        if self.gateway == "braintree":
            ledger = Ledger(deployment.ready["braintree_url"], deployment.ready["knob_token"])
            await judge_braintree(deployment, ledger, shoppers)
        else:
            judged = await judge(deployment, shoppers.accepted)
            assert judged.statuses == {"succeeded": len(shoppers.accepted)}, judged.statuses
            await judge_refunds(deployment, self.cashiers.refunds)
            assert self.cashiers.answers["500"] == 0, self.cashiers.answers
        await until_signed(deployment, END_SECONDS_MAX)
        size = sum(log.size for log in await judge_logs(deployment, {}))
        await until_nothing_is_left(deployment)
        if self.net.receiver is not None:
            self._judge_told()
        if self.net.witness_key:
            await self._until_cosigned(size)
        rewritten = [said for said in deployment.complaints() if "log_rewritten" in said]
        assert not rewritten, rewritten

    def _judge_told(self) -> None:
        """Each event of a payment once at least, under one id, and the first time in order."""
        assert self.net.receiver is not None
        order: dict[str, list[int]] = {}
        for subject, told in self.net.receiver.sequences().items():
            order[subject] = list(dict.fromkeys(told))
        for payment_id in self.shoppers.accepted.values():
            told = order.get(payment_id, [])
            assert told, f"nobody was told of {payment_id}"
            assert told == sorted(told), (payment_id, told)

    async def _until_cosigned(self, size: int) -> None:
        """The witness's word covers the whole log."""
        verifier = CosignatureVerifier.read(self.net.witness_key)
        begun = time.monotonic()
        [folder] = (self.net.deployment.home / "log").glob("ent_*")
        while True:
            note = folder / "checkpoint.cosigned"
            seen = 0
            if note.exists():
                seen = witnessed(note.read_bytes(), verifier).checkpoint.size
            if seen >= size:
                return
            assert time.monotonic() - begun < END_SECONDS_MAX, f"{seen} of {size} are cosigned"
            await asyncio.sleep(LOOK_SECONDS)


def cells_of(pairs: Iterable[str], faults: Iterable[Fault] = FAULTS) -> list[Cell]:
    """Each fault for each of these pairs."""
    return [(pair, fault) for pair in pairs for fault in faults]
