"""The composition root: the only place that knows concrete parts and puts them together."""

import asyncio
import gc
import os
import signal
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal

import asyncpg
import structlog

from strongroom.access.api_keys import ApiKeys
from strongroom.clock import Clock, SystemClock
from strongroom.config import ConfigurationError, Home, Settings
from strongroom.database import connect_pool
from strongroom.directory import check_mode, check_schema, check_workers
from strongroom.gateways.accounts import Accounts
from strongroom.gateways.port import Gateway
from strongroom.gateways.stripe.money import refusal as stripe_refusal
from strongroom.http.commands import CommandOperations
from strongroom.http.front_door import FrontDoor
from strongroom.http.health import Health
from strongroom.http.instruments import Instruments
from strongroom.http.payments import PaymentOperations
from strongroom.http.reference.documents import ServedDocuments
from strongroom.http.reference.operation import Rooms
from strongroom.http.refunds import RefundOperations
from strongroom.http.routes import make_application
from strongroom.http.server import Server
from strongroom.http.traffic import Traffic
from strongroom.http.waiting import Waiting
from strongroom.ids import BUCKETS
from strongroom.payments.accept import Acceptor
from strongroom.payments.commands import Commander
from strongroom.payments.engine import Engine
from strongroom.payments.reads import read_payments, read_refunds
from strongroom.payments.refund_engine import RefundDesk
from strongroom.payments.retention import Retention
from strongroom.payments.sender import Sender
from strongroom.telemetry.port import NO_TELEMETRY, NoTelemetry
from strongroom.work.calls import LEASE_OVER_DEADLINE, Calls
from strongroom.work.worker import Worker

API_CONNECTIONS: Final = 10
"""For reads and confirms; the accept writers have theirs beside them."""
WORKER_CONNECTIONS: Final = 8
REFUNDS_IN_FLIGHT_MAX: Final = 128
REFUNDS_CLAIMED_MAX: Final = 64
GC_THRESHOLD: Final = 20_000

log = structlog.get_logger()


AMOUNT_RULES: Final = {"stripe": stripe_refusal}
"""By gateway, what it can take. The API needs no more of an adapter, and does not load the SDKs."""


def gateways_of(settings: Settings) -> dict[str, Gateway]:
    """The adapters, by the name that accounts and instruments carry."""
    # The SDK takes a while to load, and not every command needs it.
    from strongroom.gateways.stripe.client import StripeGateway

    return {"stripe": StripeGateway(SystemClock(), settings.api_url + "/returned")}


class Api:
    """The parts of an API process over one pool of its connections."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        clock: Clock,
        mode: Literal["dev", "live"],
        acceptor: Acceptor,
        telemetry: NoTelemetry = NO_TELEMETRY,
    ) -> None:
        self._keys, self._acceptor = ApiKeys(pool, mode), acceptor
        self._waiting = Waiting(partial(read_payments, pool), lambda payment: payment.payment_id)
        self._refund_waiting = Waiting(partial(read_refunds, pool), lambda refund: refund.refund_id)
        self._commander = Commander(pool, telemetry)
        instruments = Instruments(Accounts(pool), AMOUNT_RULES)
        self.health = Health(pool)
        self.operations = PaymentOperations(
            pool=pool,
            clock=clock,
            keys=self._keys,
            instruments=instruments,
            acceptor=acceptor,
            waiting=self._waiting,
            random_bytes=os.urandom,
        )
        commands = CommandOperations(
            clock=clock,
            keys=self._keys,
            instruments=instruments,
            commander=self._commander,
            waiting=self._waiting,
        )
        refunds = RefundOperations(
            pool=pool,
            clock=clock,
            keys=self._keys,
            instruments=instruments,
            commander=self._commander,
            waiting=self._refund_waiting,
            random_bytes=os.urandom,
        )
        self.plain = make_application(
            Rooms(
                payments=self.operations,
                commands=commands,
                refunds=refunds,
                health=self.health,
                documents=ServedDocuments(),
            )
        )
        self.front_door = FrontDoor(self.operations, self.plain)

    def start(self) -> None:
        """Starts what runs beside requests, in the running loop."""
        self._keys.start()
        self._waiting.start()
        self._refund_waiting.start()
        self._acceptor.start()
        self._commander.start()

    async def drain(self) -> None:
        """Waits for all that was taken in, lets everyone who waits go, and stops."""
        await self._acceptor.drain()
        await self._commander.drain()
        await self._waiting.close()
        await self._refund_waiting.close()
        await self._keys.close()


def telemetry_of(
    settings: Settings, clock: Clock, service: str, metrics_port: int | None
) -> NoTelemetry:
    """What the settings ask for; what is not asked for is not even loaded."""
    if not settings.telemetry:
        return NO_TELEMETRY
    from strongroom.telemetry.reporting import Telemetry

    traces = None
    if settings.traces_url is not None:
        from strongroom.telemetry.traces import Traces

        one_in = settings.traces_one_in
        traces = Traces(settings.traces_url, one_in=one_in, service=service, clock=clock)
    deadline_seconds = settings.gateway_deadline_seconds
    return Telemetry(clock, deadline_seconds=deadline_seconds, port=metrics_port, traces=traces)


async def serve_api(home: Home, host: str, port: int, metrics_port: int | None = None) -> None:
    """Runs the API until SIGTERM or SIGINT, then finishes what it took in.

    `metrics_port`, on loopback, is where this process tells of itself.
    Raises ConfigurationError when the home or the database does not fit.
    """
    settings = home.settings()
    clock = SystemClock()
    pool = await connect_pool(
        home.secret("database_api_url"),
        size_max=API_CONNECTIONS + settings.accept_writers,
        application="strongroom-api",
    )
    await check_mode(pool, settings.mode)
    await check_schema(pool)
    await check_workers(pool)
    telemetry = telemetry_of(settings, clock, "strongroom-api", metrics_port)
    acceptor = Acceptor(
        pool,
        writers=settings.accept_writers,
        batch_max=settings.accept_batch_max,
        telemetry=telemetry,
    )
    api = Api(pool, clock, settings.mode, acceptor, telemetry)
    server = Server(
        Traffic(
            api.front_door,
            telemetry,
            front_paths=api.front_door.paths,
            trusts_callers=settings.traces_trust_callers,
        ),
        host,
        port,
        on_ready=lambda: log.info("api_ready", host=host, port=port, mode=settings.mode),
    )
    api.start()
    telemetry.start()
    _calm_collector()
    stopping = _stop_signals()
    serving = asyncio.create_task(server.listen())
    await asyncio.wait(
        {serving, asyncio.create_task(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED
    )
    api.health.draining = True
    server.stop()
    await serving
    await api.drain()
    await telemetry.close()
    await pool.close()
    log.info("api_stopped")


async def run_worker(
    home: Home, buckets: range = range(BUCKETS), metrics_port: int | None = None
) -> None:
    """Runs a worker until SIGTERM or SIGINT, then finishes what it claimed.

    `metrics_port`, on loopback, is where this process tells of itself.
    Raises ConfigurationError when the home or the database does not fit.
    """
    settings = home.settings()
    clock = SystemClock()
    pool = await connect_pool(
        home.secret("database_worker_url"),
        size_max=WORKER_CONNECTIONS,
        application="strongroom-worker",
    )
    await check_mode(pool, settings.mode)
    await check_schema(pool)
    telemetry = telemetry_of(settings, clock, "strongroom-worker", metrics_port)
    gateways = {
        name: telemetry.watched_gateway(name, gateway)
        for name, gateway in gateways_of(settings).items()
    }
    telemetry.read_open_work(pool, buckets)
    workers = _workers(pool, clock, gateways, settings, buckets, telemetry)
    telemetry.start()
    _calm_collector()
    stopping = _stop_signals()
    running = asyncio.create_task(_run_all(workers))
    retention = asyncio.create_task(Retention(pool, clock, buckets).run())
    log.info("worker_ready", mode=settings.mode)
    await asyncio.wait(
        {running, asyncio.create_task(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED
    )
    for worker in workers:
        worker.stop()
    await running
    retention.cancel()
    await asyncio.gather(retention, return_exceptions=True)
    for gateway in gateways.values():
        await gateway.close()
    await telemetry.close()
    await pool.close()
    log.info("worker_stopped")


def _workers(
    pool: asyncpg.Pool,
    clock: Clock,
    gateways: Mapping[str, Gateway],
    settings: Settings,
    buckets: Sequence[int],
    telemetry: NoTelemetry,
) -> list[Worker[Any]]:
    """One worker for each lane: payments, and refunds."""
    accounts, deadline = Accounts(pool), settings.gateway_deadline
    lease, in_flight_max = deadline * LEASE_OVER_DEADLINE, settings.worker_in_flight_max
    calls, refund_calls = Calls(clock, deadline), Calls(clock, deadline)
    engine = Engine(
        pool, clock, gateways, actor="worker", lease=lease, buckets=buckets, telemetry=telemetry
    )
    payments = Sender(engine, gateways, accounts, calls)
    refunds = RefundDesk(
        pool,
        gateways,
        accounts,
        refund_calls,
        actor="worker",
        lease=lease,
        buckets=buckets,
        telemetry=telemetry,
    )
    return [
        Worker(
            telemetry.watched_desk("payments", payments, in_flight_max),
            calls,
            in_flight_max=in_flight_max,
        ),
        Worker(
            telemetry.watched_desk("refunds", refunds, REFUNDS_IN_FLIGHT_MAX),
            refund_calls,
            in_flight_max=REFUNDS_IN_FLIGHT_MAX,
            claim_max=REFUNDS_CLAIMED_MAX,
        ),
    ]


async def _run_all(workers: Sequence[Worker[Any]]) -> None:
    """All of them; when one breaks, the process ends and is started anew."""
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(worker.run())


def _calm_collector() -> None:
    """What lives as long as the process is not looked at again, and the rest less often.

    Requests leave hardly any cycles; full collections at the default pace are most of the tail.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)


def _stop_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    return event


def refuse_root(settings: Settings) -> None:
    """Live processes do not run as uid 0. Raises ConfigurationError."""
    if settings.mode == "live" and os.geteuid() == 0:
        raise ConfigurationError("live mode does not run as root: use a user of its own.")
