"""`strongroom checkout`: the page on which customers pay, as a process and an origin of its own.

It has the database's rights of the API and no gateway's secret: what a gateway makes for a browser
with one, a worker asks it for (checkout/issuing.py). Whatever is wrong with a page is so
no more than what an API key could do, and no API key ever comes here.
"""

import os
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import structlog

from strongroom.app import AMOUNT_RULES, instruments_over
from strongroom.checkout.choosing import Choosing
from strongroom.checkout.client_tokens import ClientTokens
from strongroom.checkout.paying import Paying, Till
from strongroom.checkout.reports import Reports
from strongroom.checkout.saving import save_of
from strongroom.checkout.site import Site, Unread, back_url
from strongroom.clock import SystemClock
from strongroom.config import ConfigurationError, Home, Settings
from strongroom.customers.keeping import want
from strongroom.database import connect_pool
from strongroom.directory import check_mode, check_schema, check_workers
from strongroom.gateways.rules import Routes
from strongroom.http.creation import Creation
from strongroom.http.server import Server
from strongroom.http.traffic import Traffic
from strongroom.log.window import NoWindow, window_of
from strongroom.payments.accept import Acceptor
from strongroom.payments.commands import Commander
from strongroom.payments.texts import TextStore
from strongroom.process import serve_until_stopped
from strongroom.sources import PAGES
from strongroom.tax.rows import read_calculations
from strongroom.telemetry.chosen import telemetry_of
from strongroom.vault.opening import Vault, open_vault
from strongroom.work.lasting import lasting, let_go

CONNECTIONS: Final = 8
OLDEST_WORKER: Final = 35
"""The migration that a worker has to know to say which card a token stands for."""

log = structlog.get_logger()


async def serve_checkout(home: Home, host: str, port: int, metrics_port: int | None = None) -> None:
    """Serves the page until SIGTERM or SIGINT, then finishes what it took in.

    Raises ConfigurationError when the home, its address or the database does not fit.
    """
    settings = home.settings()
    check_address(settings)
    clock = SystemClock()
    pool = await connect_pool(
        home.secret("database_api_url"),
        size_max=CONNECTIONS + settings.accept_writers,
        application="strongroom-checkout",
    )
    await check_mode(pool, settings.mode)
    is_finished = await check_schema(pool)
    await check_workers(pool, OLDEST_WORKER)
    vault = await open_vault(home, settings, "api")
    telemetry = telemetry_of(settings, clock, "strongroom-checkout", metrics_port)
    acceptor = Acceptor(pool, writers=settings.accept_writers, batch_max=settings.accept_batch_max)
    commander, texts = Commander(pool), TextStore(pool, vault.keyring, seals=is_finished)
    rules = Routes(home.path, tuple(AMOUNT_RULES))
    window = await window_of(settings, pool, clock, telemetry)
    till = _till(settings, pool, vault, acceptor, commander, texts, rules, window)
    site = Site(
        Paying(pool, clock, till),
        Reports(pool),
        clock=clock,
        mode=settings.mode,
        url=settings.checkout_url,
        proxies=settings.checkout_proxies,
        integrity=dict(settings.checkout_integrity.items()),
    )
    server = Server(
        Unread(Traffic(site, telemetry)),
        host,
        port,
        on_ready=lambda: log.info("checkout_ready", host=host, port=port, mode=settings.mode),
    )
    acceptor.start()
    commander.start()
    telemetry.start()
    window.start()
    sealing = lasting(texts.seal_from_then_on())
    await serve_until_stopped(server, site)
    await let_go(sealing)
    await acceptor.drain()
    await commander.drain()
    await window.close()
    await telemetry.close()
    await vault.close()
    await pool.close()
    log.info("checkout_stopped")


def _till(
    settings: Settings,
    pool: asyncpg.Pool,
    vault: Vault,
    acceptor: Acceptor,
    commander: Commander,
    texts: TextStore,
    rules: Routes,
    window: NoWindow,
) -> Till:
    """What a payment passes on its way, over the parts of this process."""
    instruments = instruments_over(pool, SystemClock(), rules)
    creation = Creation(
        clock=SystemClock(),
        instruments=instruments,
        acceptor=acceptor,
        texts=texts,
        random_bytes=os.urandom,
        calculations=partial(read_calculations, pool),
        want=partial(want, pool, vault.subjects),
        window=window,
    )
    return Till(
        choosing=Choosing(pool, instruments, PAGES),
        client_tokens=ClientTokens(pool, vault.keyring),
        keyring=vault.keyring,
        creation=creation,
        commander=commander,
        texts=texts,
        save_of=partial(save_of, pool, vault.subjects),
        back_url=partial(back_url, settings.checkout_url),
        window=window,
    )


def check_address(settings: Settings) -> None:
    """Raises ConfigurationError where the page would share an origin, or be open to listeners."""
    page, api = urlsplit(settings.checkout_url), urlsplit(settings.api_url)
    if page.hostname == api.hostname:
        raise ConfigurationError(
            "checkout_url and api_url have one host: cookies do not know ports, so the page wants "
            "a host of its own, as https://pay.example.com."
        )
    if settings.mode == "live" and page.scheme != "https":
        raise ConfigurationError("in live mode checkout_url must be https.")
