"""The composition root: the only place that knows concrete parts and puts them together."""

import asyncio
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import asyncpg
import structlog

from strongroom.access.api_keys import ApiKeys
from strongroom.checkout.choosing import Choosing
from strongroom.checkout.desk import errands_of
from strongroom.clock import Clock, SystemClock
from strongroom.config import Home, Settings
from strongroom.customers.keeper import Keeper
from strongroom.customers.keeping import want
from strongroom.customers.methods import Methods
from strongroom.customers.register import Register
from strongroom.customers.saver import Saver
from strongroom.database import connect_pool
from strongroom.desks import calls_for, deliverer_of, tax_worker, workers_of
from strongroom.directory import check_mode, check_schema, check_workers
from strongroom.gateways.accounts import Accounts
from strongroom.gateways.braintree.capabilities import CAPABILITIES as BRAINTREE_CAPABILITIES
from strongroom.gateways.braintree.money import refusal as braintree_refusal
from strongroom.gateways.port import Credentials, Gateway
from strongroom.gateways.rests import Resting, Rests
from strongroom.gateways.routing import Rule
from strongroom.gateways.rules import Routes
from strongroom.gateways.stripe.capabilities import CAPABILITIES as STRIPE_CAPABILITIES
from strongroom.gateways.stripe.money import refusal as stripe_refusal
from strongroom.http.card_guard import GUARD, CardGuard
from strongroom.http.checkout_links import CheckoutLinkOperations
from strongroom.http.commands import CommandOperations
from strongroom.http.creation import Creation
from strongroom.http.customers import CustomerOperations
from strongroom.http.disputes import DisputeOperations
from strongroom.http.front_door import FrontDoor
from strongroom.http.health import Health
from strongroom.http.instruments import Instruments
from strongroom.http.log import LogOperations
from strongroom.http.payment_methods import PaymentMethodOperations
from strongroom.http.payments import PaymentOperations
from strongroom.http.payouts import PayoutOperations
from strongroom.http.reference.documents import ServedDocuments
from strongroom.http.reference.operation import Rooms
from strongroom.http.refunds import RefundOperations
from strongroom.http.routes import make_application
from strongroom.http.server import Server
from strongroom.http.tax import TaxOperations
from strongroom.http.traffic import Traffic
from strongroom.http.waiting import Waiting
from strongroom.http.webhooks import WebhookOperations, hooks_over
from strongroom.ids import BUCKETS
from strongroom.log.published import Published
from strongroom.log.sequencing import Sequencer
from strongroom.log.window import NO_WINDOW, NoWindow, window_of
from strongroom.payments.accept import Acceptor
from strongroom.payments.commands import Commander
from strongroom.payments.reads import read_payments, read_refunds
from strongroom.payments.retention import Retention
from strongroom.payments.rows import job_buckets
from strongroom.payments.texts import TextStore
from strongroom.process import calm_collector, serve_until_stopped, stop_signals
from strongroom.settlement.desk import LOOKS_MAX, SettlementDesk
from strongroom.sources import (
    PAGES,
    WEBHOOKS,
    fields_of,
    histories_of,
    settlement_of,
    taxes_of,
    wallets_of,
)
from strongroom.tax.rows import read_calculations
from strongroom.telemetry.chosen import telemetry_of
from strongroom.telemetry.port import NO_TELEMETRY, NoTelemetry
from strongroom.vault.envelope import load_tink
from strongroom.vault.opening import open_vault
from strongroom.vault.secrets import Secrets
from strongroom.webhooks.followers import Followers
from strongroom.work.bell import Bell
from strongroom.work.lasting import lasting, let_go
from strongroom.work.timekeeper import Timekeeper

API_CONNECTIONS: Final = 10
"""For reads and confirms; the accept writers have theirs beside them."""
WORKER_CONNECTIONS: Final = 8

log = structlog.get_logger()

AMOUNT_RULES: Final = {"stripe": stripe_refusal, "braintree": braintree_refusal}
"""By gateway, what it can take. The API needs no more of an adapter, and does not load the SDKs."""

CAPABILITIES: Final = {"stripe": STRIPE_CAPABILITIES, "braintree": BRAINTREE_CAPABILITIES}
"""By gateway, what routes may ask for."""


def gateways_of(settings: Settings, credentials: Credentials) -> dict[str, Gateway]:
    """The adapters, by the name that accounts and instruments carry."""
    # The SDKs take a while to load, and not every command needs them.
    from strongroom.gateways.braintree.client import BraintreeAdapter
    from strongroom.gateways.stripe.client import StripeGateway

    clock, mode, returned = SystemClock(), settings.mode, settings.api_url + "/returned"
    return {
        "stripe": StripeGateway(clock, credentials, returned, mode=mode),
        "braintree": BraintreeAdapter(clock, credentials, mode=mode),
    }


def instruments_over(
    pool: asyncpg.Pool, clock: Clock, rules: Callable[[], Sequence[Rule]]
) -> Instruments:
    """What chooses accounts, over the rows of a database."""
    accounts, resting = Accounts(pool), Resting(pool, clock)
    return Instruments(accounts, AMOUNT_RULES, CAPABILITIES, rules, resting.of)


def _creation_over(
    pool: asyncpg.Pool,
    clock: Clock,
    instruments: Instruments,
    acceptor: Acceptor,
    texts: TextStore,
    register: Register,
    window: NoWindow,
) -> Creation:
    return Creation(
        clock=clock,
        instruments=instruments,
        acceptor=acceptor,
        texts=texts,
        random_bytes=os.urandom,
        want=partial(want, pool, register.subjects),
        calculations=partial(read_calculations, pool),
        window=window,
    )


class Api:
    """The parts of an API process over one pool of its connections."""

    def __init__(  # noqa: PLR0913 - the parts that are put together here
        self,
        pool: asyncpg.Pool,
        clock: Clock,
        settings: Settings,
        acceptor: Acceptor,
        texts: TextStore,
        telemetry: NoTelemetry = NO_TELEMETRY,
        guard: CardGuard = GUARD,
        hooks: WebhookOperations | None = None,
        *,
        register: Register,
        logs: Path,
        rules: Callable[[], Sequence[Rule]] = tuple,
        window: NoWindow = NO_WINDOW,
    ) -> None:
        self._window = window
        keys = self._keys = ApiKeys(pool, settings.mode)
        self._hooks, self._acceptor, self._commander = hooks, acceptor, Commander(pool, telemetry)
        self._waiting = Waiting(partial(read_payments, pool), lambda payment: payment.payment_id)
        self._refund_waiting = Waiting(partial(read_refunds, pool), lambda refund: refund.refund_id)
        instruments = instruments_over(pool, clock, rules)
        self.health = Health(pool, clock)
        methods = Methods(pool, register.keyring, register.subjects)
        creation = _creation_over(pool, clock, instruments, acceptor, texts, register, window)
        self.operations = PaymentOperations(
            pool=pool, keys=keys, creation=creation, texts=texts, waiting=self._waiting
        )
        self.commands = CommandOperations(
            clock=clock,
            keys=self._keys,
            instruments=instruments,
            commander=self._commander,
            texts=texts,
            waiting=self._waiting,
            methods=methods,
            window=window,
        )
        self.refunds = RefundOperations(
            pool=pool, clock=clock, keys=keys, instruments=instruments, commander=self._commander,
            texts=texts, waiting=self._refund_waiting, random_bytes=os.urandom, window=window,
        )  # fmt: skip
        self.methods = PaymentMethodOperations(
            pool=pool, clock=clock, keys=self._keys, instruments=instruments, methods=methods
        )
        self.log = LogOperations(keys=keys, published=Published(logs))
        self.taxes = TaxOperations(pool, clock, keys, register.keyring, AMOUNT_RULES)
        url, choosing = settings.checkout_url, Choosing(pool, instruments, PAGES)
        self.plain = make_application(
            Rooms(
                payments=self.operations,
                commands=self.commands,
                refunds=self.refunds,
                disputes=DisputeOperations(pool, clock, self._keys, texts),
                customers=CustomerOperations(clock=clock, keys=self._keys, register=register),
                payouts=PayoutOperations(pool=pool, keys=self._keys),
                methods=self.methods,
                checkout_links=CheckoutLinkOperations(pool, clock, keys, choosing, url),
                taxes=self.taxes,
                log=self.log,
                health=self.health,
                documents=ServedDocuments(),
            ),
            guard,
        )
        self.front_door = FrontDoor(self.operations, self.plain, guard, hooks)

    def start(self) -> None:
        """Starts what runs beside requests, in the running loop."""
        self._keys.start()
        self._window.start()
        self._waiting.start()
        self._refund_waiting.start()
        self.methods.start()
        self.taxes.start()
        self._acceptor.start()
        self._commander.start()
        if self._hooks is not None:
            self._hooks.start()

    async def drain(self) -> None:
        """Waits for all that was taken in, lets everyone who waits go, and stops."""
        await self._acceptor.drain()
        await self._commander.drain()
        if self._hooks is not None:
            await self._hooks.drain()
        await self._waiting.close()
        await self._refund_waiting.close()
        await self.methods.close()
        await self.taxes.close()
        self.log.close()
        await self._window.close()
        await self._keys.close()


async def serve_api(
    home: Home, host: str, port: int, metrics_port: int | None = None, guard: CardGuard = GUARD
) -> None:
    """Runs the API until SIGTERM or SIGINT, then finishes what it took in.

    `metrics_port`, on loopback, is where this process tells of itself. No setting chooses `guard`.
    Raises ConfigurationError when the home or the database does not fit.
    """
    settings, rules = home.settings(), Routes(home.path, tuple(AMOUNT_RULES))
    clock = SystemClock()
    pool = await connect_pool(
        home.secret("database_api_url"),
        size_max=API_CONNECTIONS + settings.accept_writers,
        application="strongroom-api",
    )
    await check_mode(pool, settings.mode)
    is_finished = await check_schema(pool)
    await check_workers(pool)
    vault = await open_vault(home, settings, "api")
    telemetry = telemetry_of(settings, clock, "strongroom-api", metrics_port)
    acceptor = Acceptor(
        pool,
        writers=settings.accept_writers,
        batch_max=settings.accept_batch_max,
        telemetry=telemetry,
    )
    texts = TextStore(pool, vault.keyring, seals=is_finished)
    secrets = Secrets(pool, vault.keyring)
    hooks = hooks_over(pool, clock, secrets, WEBHOOKS, telemetry)
    api = Api(
        pool,
        clock,
        settings,
        acceptor,
        texts,
        telemetry,
        guard,
        hooks,
        register=Register(pool, vault.keyring, vault.subjects),
        logs=home.logs,
        rules=rules,
        window=await window_of(settings, pool, clock, telemetry),
    )
    server = Server(
        Traffic(
            api.front_door,
            telemetry,
            front_paths=api.front_door.paths,
            trusts_callers=settings.traces_trust_callers,
            guard=guard,
        ),
        host,
        port,
        on_ready=lambda: log.info("api_ready", host=host, port=port, mode=settings.mode),
    )
    api.start()
    telemetry.start()
    sealing = lasting(texts.seal_from_then_on())
    loading = asyncio.create_task(asyncio.to_thread(load_tink))  # before somebody waits for it
    await serve_until_stopped(server, api.health)
    await loading
    await let_go(sealing)
    await api.drain()
    secrets.close()
    await telemetry.close()
    await vault.close()
    await pool.close()
    log.info("api_stopped")


async def run_worker(
    home: Home, buckets: range = range(BUCKETS), metrics_port: int | None = None
) -> None:
    """Runs a worker until SIGTERM or SIGINT, then finishes what it claimed.

    It tells of itself at `metrics_port`. Raises ConfigurationError when home or database misfit.
    """
    settings, clock = home.settings(), SystemClock()
    pool = await connect_pool(
        home.secret("database_worker_url"),
        size_max=WORKER_CONNECTIONS,
        application="strongroom-worker",
    )
    await check_mode(pool, settings.mode)
    await check_schema(pool)
    vault = await open_vault(home, settings, "worker")
    secrets = Secrets(pool, vault.keyring)
    telemetry = telemetry_of(settings, clock, "strongroom-worker", metrics_port)
    gateways = {
        name: telemetry.watched_gateway(name, gateway)
        for name, gateway in gateways_of(settings, secrets).items()
    }
    sequencer_url = home.secret("database_sequencer_url")
    telemetry.read_open_work(pool, buckets)
    telemetry.read_secrets_due(pool)
    telemetry.read_hints(pool, buckets)
    telemetry.read_log_lag(sequencer_url)
    deadline, fields = settings.gateway_deadline, fields_of(settings, secrets)
    settlements, wallets = settlement_of(settings, secrets), wallets_of(settings, secrets)
    taxes, calls = taxes_of(settings, secrets), calls_for(LOOKS_MAX, clock, settings, telemetry)
    bell = Bell(home.secret("database_worker_url"), clock, job_buckets(buckets))
    desk = SettlementDesk(pool, settlements, calls, vault.keyring, buckets, bell=bell)
    rests, timekeeper = Rests(pool, clock), await Timekeeper.agreeing(pool, clock)
    workers = [
        *workers_of(pool, clock, gateways, settings, buckets, telemetry, rests, bell),
        tax_worker(pool, clock, taxes, vault.keyring, settings, buckets, telemetry, bell),
    ]
    sources = (*histories_of(settings, secrets), tuple(WEBHOOKS))
    followers = Followers(pool, clock, *sources, buckets, bell)
    saver = Saver(
        pool, clock, wallets, vault.subjects, deadline=deadline, buckets=buckets, bell=bell
    )
    errands = errands_of(pool, clock, fields, vault.keyring, deadline, buckets, telemetry, bell)
    telemetry.start()
    calm_collector()
    stopping = stop_signals()
    running = [lasting(worker.run()) for worker in workers]
    followers.start()
    keepers = Retention(pool, clock, buckets), Keeper(pool, clock, buckets, bell)
    tellers = Sequencer(sequencer_url, clock), deliverer_of(pool, clock, secrets, settings, buckets)
    others = (*keepers, desk, saver, *errands, rests, *tellers, bell, timekeeper)
    beside = [lasting(other.run()) for other in others]
    log.info("worker_ready", mode=settings.mode)
    await stopping.wait()
    for worker in workers:
        worker.stop()
    await asyncio.gather(*running)
    await let_go(*beside)
    await asyncio.gather(
        followers.close(),
        *(gateway.close() for gateway in gateways.values()),
        *(gateway.close() for gateway in settlements.values()),
        *(wallet.close() for wallet in wallets.values()),
        *(service.close() for service in taxes.values()),
    )
    secrets.close()
    await telemetry.close()
    await vault.close()
    await pool.close()
    log.info("worker_stopped")
