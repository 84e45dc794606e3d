"""What one runner stands on: a database server, stand-ins, wires between them and us, a clock."""

import asyncio
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import asyncpg
from aiohttp import web

from strongroom.cli.signer import KEY, MEMORY
from strongroom.config import Home, Settings
from strongroom.local.children import MERCHANT_ACCOUNTS
from strongroom.local.first_entity import DevDeployment, prepare_dev
from strongroom.local.ports import free_ports
from strongroom.local.process import child_environment
from strongroom.local.targets import write_webhooks
from strongroom.log.entries import EntryMalformed
from strongroom.log.notes import NoteRefused
from strongroom.log.tiles import TilesRefused
from strongroom.log.verifying import LogRefused
from tests.faults.judged_log import judge_logs
from tests.faults.points.exchanges import ExchangeWire
from tests.faults.points.house import CANCEL, GO, KILL
from tests.faults.points.lives import Lives
from tests.faults.points.pgwire import DatabaseProxy
from tests.faults.points.points import Fault, Kind
from tests.faults.points.rows import SESSIONS_SQL
from tests.faults.servers import OwnServer
from tests.integration.receivers import Receiver
from tests.sandbox.braintree_server import MERCHANT, PRIVATE_KEY, PUBLIC_KEY, RunningBraintree
from tests.sandbox.conftest import KNOB_TOKEN, SECRET_KEY, RunningStripe

DATABASE: Final = "points"
DEADLINE_SECONDS: Final = 0.8
LATE_SECONDS: Final = 1.2
READY_SECONDS_MAX: Final = 60.0
SETTINGS: Final = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}
"""The server is stopped and killed, never the machine: what was written to it stays."""
LOOK_SECONDS: Final = 0.01
ROOT: Final = Path(__file__).parents[3]


class Logs(NamedTuple):
    """Where the log lies, and what gives the rows that it is of."""

    home: Path
    fetch: Callable[..., Awaitable[list[asyncpg.Record]]]


REFUSED: Final = (LogRefused, TilesRefused, NoteRefused, EntryMalformed)

Watch = Callable[[Kind, str], Awaitable[Fault | None]]


class StripeThere(RunningStripe):
    """Stripe's stand-in, which tells of events where a file says."""

    def command(self, *more: str) -> list[str]:
        return super().command("--webhooks-file", str(self.data.with_name("webhooks")), *more)


class BraintreeThere(RunningBraintree):
    """Braintree's, with the merchant accounts of a first entity."""

    def command(self, *more: str) -> list[str]:
        accounts = [f"--merchant-account={name}={cur}" for cur, name in MERCHANT_ACCOUNTS.items()]
        webhooks = ["--webhooks-file", str(self.data.with_name("webhooks"))]
        return super().command(*accounts, *webhooks, *more)


class Ground:
    """Everything that lasts longer than one case; `watch` is told of each point."""

    def __init__(self, watch: Watch) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="strongroom-points-")).resolve()
        self.base.chmod(0o711)  # as root, the database runs under another account
        self.home, self.server = Home(self.base / "home"), OwnServer(self.base)
        (self.base / "stripe").mkdir()
        (self.base / "braintree").mkdir()
        self.stripe, self.braintree = (
            StripeThere(self.base / "stripe"),
            BraintreeThere(self.base / "braintree"),
        )
        self._watch = watch
        self.receiver = Receiver("")
        self.receiver.unchecked = True  # its library's clock is the machine's
        late = LATE_SECONDS
        self.to_stripe = ExchangeWire("stripe", self._exchange, late)
        self.to_braintree = ExchangeWire("braintree", self._exchange, late)
        self.to_us = ExchangeWire("webhook", self._exchange, late)
        self.to_receiver = ExchangeWire("receiver", self._exchange, late)
        self._hooks: web.AppRunner | None = None
        self._ahead_seconds = 0
        first = free_ports(2)
        self.clones = 0
        self.dev: DevDeployment
        self.proxy: DatabaseProxy
        self.lives = Lives(self.base, self.home.path, (first, first + 1))
        self._listening: asyncio.Server | None = None
        self._owner: asyncpg.Connection | None = None
        self._one_at_a_time = asyncio.Lock()

    @property
    def port(self) -> int:
        """Where our API listens."""
        return self.lives.port

    # Beginning and end.

    async def start(self) -> None:
        """Takes some seconds: a server, a deployment to be copied, two stand-ins, a forker."""
        self.server.begin()
        self.stripe.start()
        self.braintree.start()
        await self.server.ready()
        await self._to_server(*(f"ALTER SYSTEM SET {k} = '{v}'" for k, v in SETTINGS.items()))
        await self._to_server("SELECT pg_reload_conf()")
        stripe, braintree = await self.to_stripe.start(), await self.to_braintree.start()
        here = await self.to_us.start()
        self.to_stripe.target, self.to_braintree.target = self.stripe.url, self.braintree.url
        self.to_us.target = f"http://127.0.0.1:{self.port}"
        await self._deploy(stripe, braintree)
        await self._add_endpoint(await self.to_receiver.start())
        self._tell_stand_ins(here)
        upstream = urlsplit(self.server.url())
        assert upstream.hostname is not None
        assert upstream.port is not None
        self.proxy = DatabaseProxy((upstream.hostname, upstream.port), DATABASE, self._message)
        self._go_through(await self.proxy.start())
        for wire in (self.to_stripe, self.to_braintree, self.to_us, self.to_receiver):
            wire.on_kill = self.lives.kill
        self.proxy.on_kill, self.proxy.on_stop = self.lives.kill, self.restart_database
        self._listening = await asyncio.start_unix_server(self._asked, str(self.lives.asked))
        await self.lives.start()

    async def stop(self) -> None:
        """Everything ends, whatever state it is in."""
        await self.lives.stop()
        for wire in (self.to_stripe, self.to_braintree, self.to_us, self.to_receiver):
            await wire.close()
        if self._hooks is not None:
            await self._hooks.cleanup()
        if hasattr(self, "proxy"):
            await self.proxy.close()
        if self._listening is not None:
            self._listening.close()
        await self._forget_owner()
        await asyncio.to_thread(self._stop_servers)
        shutil.rmtree(self.base, ignore_errors=True)

    def _stop_servers(self) -> None:
        self.stripe.kill()
        self.braintree.kill()
        self.server.stop()

    async def _deploy(self, stripe_url: str, braintree_url: str) -> None:
        settings = Settings(
            gateway_deadline_seconds=DEADLINE_SECONDS, telemetry=False, webhooks_to_loopback=True
        )
        self.home.write_settings(settings)
        self.home.write_secret("stripe_key", SECRET_KEY)
        self.home.write_secret("stripe_webhook_secret", f"whsec_{secrets.token_hex(16)}")
        self.home.write_secret("braintree_keys", f"{MERCHANT}:{PUBLIC_KEY}:{PRIVATE_KEY}")
        self.dev = await prepare_dev(
            self.home.path,
            self.server.url(DATABASE),
            stripe_url,
            f"http://127.0.0.1:{self.port}",
            braintree_url=braintree_url,
        )

    async def _add_endpoint(self, origin: str) -> None:
        """Somebody is told of everything, by a wire."""
        application = web.Application()
        application.router.add_post("/hooks", self.receiver.hook)
        self._hooks = web.AppRunner(application)
        await self._hooks.setup()
        await web.TCPSite(self._hooks, "127.0.0.1", 0).start()
        host, port = self._hooks.addresses[0][:2]
        self.to_receiver.target = f"http://{host}:{port}"
        adding = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "strongroom", "endpoints", "add", f"{origin}/hooks",
            "--home", str(self.home.path), stdout=subprocess.DEVNULL,
            env=child_environment() | {"PYTHONPATH": str(ROOT / "src")},
        )  # fmt: skip
        assert await adding.wait() == 0

    def _tell_stand_ins(self, origin: str) -> None:
        secret = self.home.secrets / "stripe_webhook_secret"
        url = f"{origin}/webhooks/stripe/{self.dev.gateway_account}"
        write_webhooks(self.stripe.data.with_name("webhooks"), url, secret)
        url = f"{origin}/webhooks/braintree/{self.dev.braintree_account}"
        write_webhooks(self.braintree.data.with_name("webhooks"), url, None)

    def _go_through(self, port: int) -> None:
        """Our logins reach the database by the proxy."""
        for file in sorted(self.home.secrets.glob("*_url")):
            parts = urlsplit(self.home.secret(file.name))
            name, _, _ = parts.netloc.rpartition(":")
            through = parts._replace(netloc=f"{name}:{port}")
            self.home.write_secret(file.name, urlunsplit(through))

    # The database.

    async def clone(self) -> None:
        """A database as it was before the first payment."""
        await self._forget_owner()
        self.proxy.cut_all()
        self.lives.forget()
        for folder in (self.home.logs, self.home.path / MEMORY):
            shutil.rmtree(folder, ignore_errors=True)
        (self.home.secrets / KEY).unlink(missing_ok=True)
        old, self.clones = self.proxy.clone, self.clones + 1
        self.proxy.clone = f"{DATABASE}_{self.clones}"
        await self._to_server(
            f"CREATE DATABASE {self.proxy.clone} TEMPLATE {DATABASE} STRATEGY FILE_COPY"
        )
        if old != DATABASE:
            await self._to_server(f"DROP DATABASE {old} WITH (FORCE)")

    async def restart_database(self) -> None:
        """Immediate shutdown, and a start with recovery; who asks past the proxy waits for it."""
        async with self._one_at_a_time:
            await self._forget_owner()
            await self.server.restart_at_once()

    async def still(self) -> None:
        """Our processes are gone, and what they had sent to the database is over."""
        await self.lives.kill_all()
        self.proxy.cut_all()
        while await self.fetch(SESSIONS_SQL):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(LOOK_SECONDS)

    async def checkpoint(self) -> None:
        """Recovery will have nothing to do that was before."""
        await self._to_server("CHECKPOINT")

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Rows of the case's database, as its superuser, past the proxy."""
        async with self._one_at_a_time:
            if self._owner is None or self._owner.is_closed():
                self._owner = await asyncpg.connect(
                    self.server.url(self.proxy.clone),
                    timeout=20,
                    server_settings={"search_path": "strongroom, directory"},
                )
            return list(await self._owner.fetch(query, *arguments, timeout=20))

    async def _forget_owner(self) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.terminate()

    async def _to_server(self, *statements: str) -> None:
        async with self._one_at_a_time:
            connection = await asyncpg.connect(self.server.url("postgres"), timeout=20)
            try:
                for statement in statements:
                    await connection.execute(statement)
            finally:
                await connection.close()

    # The providers.

    async def charges_of(self, gateway: str, payment: str) -> list[dict[str, Any]]:
        """By the provider's ledger, what was taken or is held for a payment: `taken` and `held`."""
        url = self.stripe.url if gateway == "stripe" else self.braintree.url
        chosen = (
            f"metadata[strongroom_payment]={payment}"
            if gateway == "stripe"
            else f"order_prefix={payment}"
        )
        found = []
        for kind in ("taken", "held"):
            path = f"/_ledger/charges?limit=100&kind={kind}&{chosen}"
            page = await self.control(url, "GET", path)
            found += [one | {"kind": kind} for one in page["data"]]
        return found

    async def renew_stand_ins(self) -> None:
        """Both stand-ins begin anew, with empty books."""
        for server in (self.stripe, self.braintree):
            await asyncio.to_thread(server.kill)
            shutil.rmtree(server.data, ignore_errors=True)
            server.start()
        self.to_stripe.target, self.to_braintree.target = self.stripe.url, self.braintree.url
        self._ahead_seconds = 0

    async def move_providers(self, ahead: timedelta) -> None:
        """Their clocks are so far ahead of the machine's; they never go back."""
        step = int(ahead.total_seconds()) - self._ahead_seconds
        if step > 0:
            for server in (self.stripe, self.braintree):
                await self.control(server.url, "POST", "/_clock", {"advance_seconds": step})
            self._ahead_seconds += step

    async def settle_refunds(self) -> None:
        """Braintree's nightly batch settles what was given back."""
        rows = await self.fetch(
            "SELECT gateway_object_id FROM refunds WHERE status = 'pending' "
            "AND gateway_object_id IS NOT NULL"
        )
        for row in rows:
            await self.settle_there(row["gateway_object_id"])

    async def settle_there(self, transaction: str) -> None:
        """Braintree's nightly batch has settled it."""
        await self.control(self.braintree.url, "POST", "/_settle", {"transaction": transaction})

    async def log_findings(self) -> list[str]:
        """What does not hold of the log's files."""
        try:
            await judge_logs(Logs(self.home.path, self.fetch), {})
        except (AssertionError, *REFUSED, OSError) as problem:
            return [f"the log: {type(problem).__name__} {problem}"]
        return []

    # What the wires tell of.

    async def _message(self, place: str) -> Fault | None:
        return await self._watch(Kind.MESSAGE, place)

    async def _exchange(self, place: str) -> Fault | None:
        return await self._watch(Kind.EXCHANGE, place)

    async def _asked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while line := await reader.readline():
                fault = await self._watch(Kind.AWAIT, line.decode().rstrip("\n"))
                writer.write({None: GO, Fault.CANCELED: CANCEL}.get(fault, KILL))
        writer.close()

    async def control(self, url: str, method: str, path: str, body: object = None) -> Any:
        """A control of a stand-in; returns its JSON. Raises AssertionError where it is refused."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method, url + path, json=body, headers={"X-Knob-Token": KNOB_TOKEN}
            ) as reply,
        ):
            assert reply.status == 200, (method, path, reply.status, await reply.text())
            return await reply.json()
