"""The desks of one worker process, put together: payments, refunds, and what else it works on."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg

from strongroom.clock import Clock
from strongroom.config import Settings
from strongroom.gateways.accounts import Accounts
from strongroom.gateways.lines import Lines, places_for
from strongroom.gateways.port import Gateway
from strongroom.gateways.rests import Rests
from strongroom.gateways.tax import Taxes
from strongroom.payments.engine import SQL as PAYMENTS_SQL
from strongroom.payments.engine import Engine
from strongroom.payments.refund_engine import SQL as REFUNDS_SQL
from strongroom.payments.refund_engine import RefundDesk
from strongroom.payments.sender import Sender
from strongroom.tax.desk import TaxDesk
from strongroom.tax.rows import SQL as TAX_SQL
from strongroom.telemetry.port import NoTelemetry
from strongroom.tls import system_tls
from strongroom.vault.keys import Keyring
from strongroom.vault.secrets import Secrets
from strongroom.webhooks.courier import Courier
from strongroom.webhooks.deliverer import Deliverer
from strongroom.work.bell import NO_BELL, NoBell
from strongroom.work.calls import LEASE_OVER_DEADLINE, Calls
from strongroom.work.worker import Worker

REFUNDS_IN_FLIGHT_MAX: Final = 128
REFUNDS_CLAIMED_MAX: Final = 64
TAXES_IN_FLIGHT_MAX: Final = 32


def workers_of(
    pool: asyncpg.Pool,
    clock: Clock,
    gateways: Mapping[str, Gateway],
    settings: Settings,
    buckets: Sequence[int],
    telemetry: NoTelemetry,
    rests: Rests,
    bell: NoBell = NO_BELL,
) -> list[Worker[Any]]:
    """One worker for each lane: payments, and refunds; `rests` is told what their lines say."""
    accounts, deadline = Accounts(pool), settings.gateway_deadline
    lease, in_flight_max = deadline * LEASE_OVER_DEADLINE, settings.worker_in_flight_max
    lines = Lines(in_flight_max, telemetry=telemetry, rests=rests.told)
    calls = Calls(clock, deadline, lines)
    refund_calls = Calls(clock, deadline, Lines(REFUNDS_IN_FLIGHT_MAX, telemetry=telemetry))
    engine = Engine(
        pool,
        clock,
        gateways,
        actor="worker",
        lease=lease,
        buckets=buckets,
        telemetry=telemetry,
        lines=lines,
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
            lane=bell.lane(PAYMENTS_SQL["payments_due"]),
        ),
        Worker(
            telemetry.watched_desk("refunds", refunds, REFUNDS_IN_FLIGHT_MAX),
            refund_calls,
            in_flight_max=REFUNDS_IN_FLIGHT_MAX,
            claim_max=REFUNDS_CLAIMED_MAX,
            lane=bell.lane(REFUNDS_SQL["refunds_due"]),
        ),
    ]


def calls_for(most: int, clock: Clock, settings: Settings, telemetry: NoTelemetry) -> Calls:
    """Calls of a desk that has `most` under way: one account may have all, if it answers."""
    return Calls(clock, settings.gateway_deadline, Lines(places_for(most), telemetry=telemetry))


def tax_worker(
    pool: asyncpg.Pool,
    clock: Clock,
    services: Mapping[str, Taxes],
    keyring: Keyring,
    settings: Settings,
    buckets: Sequence[int],
    telemetry: NoTelemetry,
    bell: NoBell = NO_BELL,
) -> Worker[Any]:
    """The worker that calculates taxes and reports them."""
    calls = calls_for(TAXES_IN_FLIGHT_MAX, clock, settings, telemetry)
    desk = TaxDesk(pool, services, calls, keyring, buckets)
    return Worker(
        telemetry.watched_desk("taxes", desk, TAXES_IN_FLIGHT_MAX),
        calls,
        in_flight_max=TAXES_IN_FLIGHT_MAX,
        claim_max=TAXES_IN_FLIGHT_MAX,
        lane=bell.lane(TAX_SQL["taxes_due"]),
    )


def deliverer_of(
    pool: asyncpg.Pool,
    clock: Clock,
    secrets: Secrets,
    settings: Settings,
    buckets: Sequence[int],
) -> Deliverer:
    """What tells endpoints of the log; to this machine itself only where the settings say so."""
    tls = system_tls(settings.mode)
    courier = Courier(loopback_allowed=settings.webhooks_to_loopback, tls=tls)
    return Deliverer(pool, clock, secrets, courier, buckets)
