"""The composition root: the only place that knows concrete parts and puts them together."""

import asyncio
import gc
import logging
import os
import signal
import sys
from typing import Final

import structlog

from strongroom.access.api_keys import ApiKeys
from strongroom.clock import SystemClock
from strongroom.config import ConfigurationError, Home, Settings
from strongroom.database import connect_pool
from strongroom.directory import check_mode
from strongroom.gateways.accounts import Accounts
from strongroom.gateways.port import Gateway
from strongroom.gateways.stripe.money import refusal as stripe_refusal
from strongroom.http.front_door import FrontDoor
from strongroom.http.health import Health
from strongroom.http.payments import PaymentOperations
from strongroom.http.routes import make_application
from strongroom.http.server import Server
from strongroom.http.waiting import Waiting
from strongroom.ids import BUCKETS
from strongroom.payments.accept import Acceptor
from strongroom.payments.engine import Engine
from strongroom.work.worker import LEASE_OVER_DEADLINE, Worker

API_CONNECTIONS: Final = 10
"""For reads and confirms; the accept writers have theirs beside them."""
WORKER_CONNECTIONS: Final = 6
GC_THRESHOLD: Final = 20_000

log = structlog.get_logger()


AMOUNT_RULES: Final = {"stripe": stripe_refusal}
"""By gateway, what it can take. The API needs no more of an adapter, and does not load the SDKs."""


def gateways_of(settings: Settings) -> dict[str, Gateway]:
    """The adapters, by the name that accounts and instruments carry."""
    # The SDK takes a while to load, and not every command needs it.
    from strongroom.gateways.stripe.client import StripeGateway

    return {"stripe": StripeGateway(SystemClock(), settings.api_url + "/returned")}


async def serve_api(home: Home, host: str, port: int) -> None:
    """Runs the API until SIGTERM or SIGINT, then finishes what it took in.

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
    accounts, keys, waiting = Accounts(pool), ApiKeys(pool, settings.mode), Waiting(pool)
    acceptor = Acceptor(pool, writers=settings.accept_writers, batch_max=settings.accept_batch_max)
    operations = PaymentOperations(
        pool=pool,
        clock=clock,
        keys=keys,
        accounts=accounts,
        amount_rules=AMOUNT_RULES,
        acceptor=acceptor,
        waiting=waiting,
        random_bytes=os.urandom,
    )
    health = Health(pool)
    front_door = FrontDoor(operations, make_application(operations, health))
    server = Server(
        front_door,
        host,
        port,
        on_ready=lambda: log.info("api_ready", host=host, port=port, mode=settings.mode),
    )
    keys.start()
    waiting.start()
    acceptor.start()
    _calm_collector()
    stopping = _stop_signals()
    serving = asyncio.create_task(server.listen())
    await asyncio.wait(
        {serving, asyncio.create_task(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED
    )
    health.draining = True
    server.stop()
    await serving
    await acceptor.drain()
    await waiting.close()
    await keys.close()
    await pool.close()
    log.info("api_stopped")


async def run_worker(home: Home, buckets: range = range(BUCKETS)) -> None:
    """Runs a worker until SIGTERM or SIGINT, then finishes what it claimed.

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
    gateways = gateways_of(settings)
    engine = Engine(
        pool,
        clock,
        gateways,
        actor="worker",
        lease=settings.gateway_deadline * LEASE_OVER_DEADLINE,
        buckets=buckets,
    )
    worker = Worker(
        engine,
        gateways,
        Accounts(pool),
        clock,
        deadline=settings.gateway_deadline,
        in_flight_max=settings.worker_in_flight_max,
    )
    _calm_collector()
    stopping = _stop_signals()
    running = asyncio.create_task(worker.run())
    log.info("worker_ready", mode=settings.mode)
    await asyncio.wait(
        {running, asyncio.create_task(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED
    )
    worker.stop()
    await running
    for gateway in gateways.values():
        await gateway.close()
    await pool.close()
    log.info("worker_stopped")


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


class _LibraryLogs(logging.Handler):
    """What libraries warn of, without their words: those may hold what a caller sent."""

    def emit(self, record: logging.LogRecord) -> None:
        """Says which library, and where in it."""
        where = f"{record.filename}:{record.lineno}"
        log.log(record.levelno, "library_log", logger=record.name, where=where)


def set_up_logs() -> None:
    """JSON lines on stderr; only what the code names, never bodies or headers."""
    logging.basicConfig(handlers=[_LibraryLogs()], level=logging.WARNING, force=True)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(20),
        cache_logger_on_first_use=True,
    )
