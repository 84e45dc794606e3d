"""A shop on a clock of ours: the product's own parts, a real database, a real stand-in."""

import asyncio
import heapq
import itertools
import json
import random
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg

from strongroom.app import Api
from strongroom.clock import ShiftedClock, microseconds_since_epoch, monotonic_seconds
from strongroom.config import Home, Settings
from strongroom.customers.register import Register
from strongroom.database import SEARCH_PATH, connect_pool
from strongroom.desks import workers_of
from strongroom.gateways.port import Gateway
from strongroom.gateways.rests import Rests
from strongroom.gateways.stripe.client import StripeGateway
from strongroom.http.traffic import Traffic
from strongroom.ids import BUCKETS, new_id, to_text
from strongroom.local.first_entity import prepare_dev
from strongroom.payments.accept import Acceptor
from strongroom.payments.retention import Retention
from strongroom.payments.texts import TextStore
from strongroom.telemetry.chosen import telemetry_of
from strongroom.vault.opening import open_vault
from strongroom.vault.secrets import Secrets
from tests.acceptance.inside import say
from tests.sandbox.conftest import KNOB_TOKEN, SECRET_KEY, RunningStripe

DEADLINE_SECONDS: Final = 1.0
QUIET_SECONDS_MAX: Final = 120.0
LOOK_SECONDS: Final = 0.01
LEDGER_PAGE: Final = 5000
AT_ONCE: Final = 48
CACHED_PATHS: Final = 600
THINGS_MAX: Final = 5000
OPEN_SQL: Final = """
SELECT (SELECT count(*) FROM jobs WHERE held OR run_at <= $1)
  + (SELECT count(*) FROM refund_jobs WHERE held OR run_at <= $1)
"""
DEFINITE: Final = (200, 201, 202, 409)

Story = AsyncGenerator[timedelta, None]
"""What a customer does, and how long it takes until the next step."""


class Shop:
    """One API and one worker in this process, and customers whose stories take their time."""

    def __init__(self, home: Home, api_key: str, stripe: RunningStripe, owner: Any) -> None:
        self.clock = ShiftedClock()
        self.owner: asyncpg.Connection = owner
        self.answers: Counter[str] = Counter()
        self.gateways: dict[str, Gateway] = {}
        self._home, self._api_key, self._stripe = home, api_key, stripe
        self._session: aiohttp.ClientSession | None = None
        self._agenda: list[tuple[Any, int, Story]] = []
        self._numbers = itertools.count(1)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Everything runs in the block and has ended after it, put together as processes are."""
        secret, size = self._home.secret, 8
        api_pool = await connect_pool(
            secret("database_api_url"), size_max=size, application="strongroom-api"
        )
        pool = await connect_pool(
            secret("database_worker_url"), size_max=size, application="strongroom-worker"
        )
        settings, buckets = Settings(gateway_deadline_seconds=DEADLINE_SECONDS), range(BUCKETS)
        self.telemetry = [
            telemetry_of(settings, self.clock, name, None) for name in ("strongroom-api", "worker")
        ]
        self.acceptor = Acceptor(api_pool, telemetry=self.telemetry[0])
        self.vault = await open_vault(self._home, settings, "api")
        texts = TextStore(api_pool, self.vault.keyring, seals=True)
        register = Register(api_pool, self.vault.keyring, self.vault.subjects)
        self.api = Api(
            api_pool, self.clock, settings, self.acceptor, texts, self.telemetry[0],
            register=register, logs=self._home.logs,
        )  # fmt: skip
        self.front = Traffic(
            self.api.front_door, self.telemetry[0],
            front_paths=self.api.front_door.paths, trusts_callers=False,
        )  # fmt: skip
        self.workers_vault = await open_vault(self._home, settings, "worker")
        self.secrets = Secrets(pool, self.workers_vault.keyring)
        adapter = StripeGateway(self.clock, self.secrets, "http://127.0.0.1:1/returned", mode="dev")
        self.gateways = {"stripe": self.telemetry[1].watched_gateway("stripe", adapter)}
        self.telemetry[1].read_open_work(pool, buckets)
        self.workers = workers_of(
            pool, self.clock, self.gateways, settings, buckets, self.telemetry[1],
            Rests(pool, self.clock),
        )  # fmt: skip
        self.retention = Retention(pool, self.clock, buckets)
        self.api.start()
        for telemetry in self.telemetry:
            telemetry.start()
        running = [asyncio.create_task(worker.run()) for worker in self.workers]
        self._session = aiohttp.ClientSession()
        try:
            yield
        finally:
            for worker in self.workers:
                worker.stop()
            await asyncio.gather(*running)
            await self.api.drain()
            await self.vault.close()
            self.secrets.close()
            await self.workers_vault.close()
            for telemetry in self.telemetry:
                await telemetry.close()
            await self._session.close()
            for gateway in self.gateways.values():
                await gateway.close()
            await api_pool.close()
            await pool.close()

    # Time.

    async def advance(self, step: timedelta) -> None:
        """Both clocks go on, and so do the stories; then all that is due is done."""
        self.clock.advance(step)
        await self.control("POST", "/_clock", {"advance_seconds": int(step.total_seconds())})
        now = self.clock.now()
        due: list[Story] = []
        while self._agenda and self._agenda[0][0] <= now:
            due.append(heapq.heappop(self._agenda)[2])
        await self._go_on(due)
        await self.quiet()

    def begin(self, story: Story) -> None:
        """A story that begins with the next step of the clock."""
        self._plan(story, timedelta())

    @property
    def stories_open(self) -> int:
        return len(self._agenda)

    def _plan(self, story: Story, wait: timedelta) -> None:
        moment = self.clock.now() + wait
        heapq.heappush(self._agenda, (moment, next(self._numbers), story))

    async def _go_on(self, stories: list[Story]) -> None:
        waiting = list(reversed(stories))

        async def one_by_one() -> None:
            while waiting:
                story = waiting.pop()
                try:
                    self._plan(story, await anext(story))
                except StopAsyncIteration:
                    continue

        await asyncio.gather(*(one_by_one() for _ in range(AT_ONCE)))

    async def quiet(self) -> None:
        """Wait until nothing is due, and nobody is at anything."""
        ends = monotonic_seconds() + QUIET_SECONDS_MAX
        while await self.owner.fetchval(OPEN_SQL, self.clock.now()):
            assert monotonic_seconds() < ends, "something stays due"
            await asyncio.sleep(LOOK_SECONDS)

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Rows of a query, past row-level security."""
        return await self.owner.fetch(query, *arguments)

    def kept(self) -> dict[str, int]:
        """How much each container holds that this process keeps beyond a request, by its path."""
        found: dict[str, int] = {}
        for name in ("api", "acceptor", "workers", "gateways", "retention", "telemetry"):
            _measure(getattr(self, name), name, found, set())
        return found

    # Requests.

    async def ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """The answer's body; what no client of ours deserves fails the test."""
        headers = [(b"authorization", f"Bearer {self._api_key}".encode())]
        if body is not None:
            headers.append((b"content-type", b"application/json"))
        if key is not None:
            headers.append((b"idempotency-key", key.encode()))
        path, _, query = path.partition("?")
        said = await say(
            self.front, path, headers, [json.dumps(body).encode() if body else b"{}"],
            method=method, query=query.encode(),
        )  # fmt: skip
        answer: dict[str, Any] = json.loads(said.body)
        self.answers[f"{method} {said.status} {answer.get('code', '')}".rstrip()] += 1
        assert said.status in DEFINITE, (method, path, said.status, answer)
        return answer

    async def fill_caches(self) -> None:
        """What libraries keep of paths is bounded: it is full before memory is looked at."""
        entity = await self.owner.fetchval("SELECT legal_entity_id FROM legal_entities")
        for _ in range(CACHED_PATHS):
            unknown = to_text("pay", new_id(microseconds_since_epoch(self.clock.now()), entity))
            for path in ("", "/confirm", "/capture", "/cancel"):
                await say(self.front, f"/v1/payments/{unknown}{path}", [], [], method="GET")

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """A POST under a key of its own; one in twenty is sent once more, and is a replay."""
        key = f"key-{next(self._numbers)}"
        answer = await self.ask("POST", path, body, key)
        if random.random() < 0.05 and "id" in answer:
            again = await self.ask("POST", path, body, key)
            assert again["id"] == answer["id"]
        return answer

    async def create(self, token: str | None, **more: Any) -> str:
        """A payment; its id."""
        number = next(self._numbers)
        body = {
            "amount": random.randint(500, 20_000), "currency": "EUR",
            "merchant_reference": f"order-{number}", **more,
        }  # fmt: skip
        if token is not None:
            body["instrument"] = {"gateway": "stripe", "token": token}
        return str((await self.post("/v1/payments", body))["id"])

    async def get(self, payment: str) -> dict[str, Any]:
        return await self.ask("GET", f"/v1/payments/{payment}")

    # The stand-in.

    async def control(self, method: str, path: str, body: object = None) -> Any:
        assert self._session is not None
        async with self._session.request(
            method, self._stripe.url + path, json=body, headers={"X-Knob-Token": KNOB_TOKEN}
        ) as reply:
            assert reply.status == 200, (path, await reply.text())
            return await reply.json()

    async def act(self, payment: str, what: str) -> None:
        """The customer's way through 3-D Secure."""
        shown = await self.get(payment)
        if shown["status"] == "requires_action":
            assert self._session is not None
            url = f"{shown['next_action']['url']}/{what}"
            async with self._session.post(url, allow_redirects=False) as reply:
                assert reply.status in (200, 303)
            await self.post(f"/v1/payments/{payment}/confirm", {})

    async def ledger(self, name: str) -> list[dict[str, Any]]:
        """All of the stand-in's charges, or refunds."""
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            page = await self.control("GET", f"/_ledger/{name}?limit={LEDGER_PAGE}{after}")
            found += page["data"]
            if not page["has_more"]:
                return found
            after = f"&starting_after={found[-1]['id']}"


async def open_shop(base: Path, database_url: str, stripe: RunningStripe) -> Shop:
    """A database with one entity, whose account is at the stand-in."""
    home = Home(base / "home")
    home.write_secret("stripe_key", SECRET_KEY)
    ready = await prepare_dev(home.path, database_url, stripe.url, "http://127.0.0.1:1")
    owner = await asyncpg.connect(database_url, server_settings={"search_path": SEARCH_PATH})
    return Shop(home, ready.api_key, stripe, owner)


def _measure(thing: object, path: str, found: dict[str, int], met: set[int]) -> None:
    if id(thing) in met or len(met) > THINGS_MAX:
        return
    met.add(id(thing))
    if isinstance(thing, dict | list | set | deque):
        found[path] = len(thing)
        for number, one in enumerate(thing.values() if isinstance(thing, dict) else thing):
            _measure(one, f"{path}[{number}]", found, met)
    elif type(thing).__module__.startswith("strongroom.") and hasattr(thing, "__dict__"):
        for name, value in vars(thing).items():
            _measure(value, f"{path}.{name}", found, met)
