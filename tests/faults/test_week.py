"""A week of mixed traffic in minutes: nothing piles up in the database, nor in memory."""

import asyncio
import gc
import logging
import os
import random
import sys
import time
from array import array
from bisect import bisect
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
import structlog

from strongroom.ids import to_text
from strongroom.payments.retention import KEPT, PAGE_EVERY
from tests.faults.judge import logged, tidied
from tests.faults.stories import STORIES, knobs
from tests.faults.week import Shop, open_shop
from tests.sandbox.conftest import RunningStripe

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.needs("procfs")]

PAYMENTS: Final = int(os.environ.get("STRONGROOM_WEEK_PAYMENTS") or 4000)
DAYS: Final = 7
HOUR: Final = timedelta(hours=1)
WITHIN_AN_HOUR: Final = tuple(timedelta(seconds=seconds) for seconds in (5, 25, 270, 900, 2400))
"""Steps of the clock; the next ones begin where the last ones ended."""
AFTERWARDS: Final = 32 * 4
"""Steps of six hours: refunds are looked at for 30 days, holds end after seven."""

TABLES_SQL: Final = """
SELECT s.relname, s.n_live_tup AS live, s.n_dead_tup AS dead, s.vacuum_count, s.autovacuum_count,
  pg_relation_size(s.relid) AS bytes, pg_indexes_size(s.relid) AS index_bytes,
  s.n_tup_upd AS updated, s.n_tup_hot_upd AS hot, s.n_tup_del AS deleted
FROM pg_stat_user_tables s WHERE s.schemaname = 'strongroom'
"""
BOUNDS_SQL: Final = """
SELECT c.relname,
  coalesce((SELECT option_value FROM pg_options_to_table(c.reloptions)
    WHERE option_name = 'autovacuum_vacuum_threshold'),
    current_setting('autovacuum_vacuum_threshold'))::float AS threshold,
  coalesce((SELECT option_value FROM pg_options_to_table(c.reloptions)
    WHERE option_name = 'autovacuum_vacuum_scale_factor'),
    current_setting('autovacuum_vacuum_scale_factor'))::float AS scale
FROM pg_class c WHERE c.relnamespace = 'strongroom'::regnamespace AND c.relkind = 'r'
"""
QUEUES: Final = ("jobs", "refund_jobs", "walks")
AUTOVACUUM_SECONDS: Final = 12.0
"""Until a look of autovacuum has cleared a table: its rest, the delay of statistics, its work."""
SETTLED_SECONDS_MAX: Final = 60.0
ROW_BYTES_MAX: Final = 300
"""What a row of a queue takes at most, live or dead, with its entries in two indexes."""
EMPTY_BYTES_MAX: Final = 8 * 8192
KINDS_SEEN_LATER_MAX: Final = 16
"""Counters begin with the first answer of their kind."""
BLOCKS_GROWTH_MAX: Final = 1.02
"""From day 2 on: the caches of libraries are bounded, and some fill up in days."""
BLOCKS_GROWTH_LATE_MAX: Final = 1.005
"""From day 5 on. Five blocks kept of each payment would be twice as much."""
RESIDENT_GROWTH_MAX: Final = 8 << 20
STATUSES_WANTED: Final = {
    "payments: succeeded", "payments: failed expired_card", "payments: canceled action_not_taken",
    "payments: canceled no_instrument_in_time", "payments: canceled not_sent_in_time",
    "payments: canceled requested_by_caller", "payments: canceled authorization_expired",
    "payments: failed authentication_failed", "refunds: succeeded",
    "refunds: failed expired_or_canceled_card",
}  # fmt: skip


@dataclass(slots=True)
class Watch:
    """What was seen of the tables each hour, and of this process each day."""

    seen: "dict[str, array[float]]" = field(default_factory=dict)
    """By table: when, the rows changed so far, and the dead ones, again and again. Plain numbers:
    what is watched is this process's memory, too."""
    bytes_by_day: dict[str, list[int]] = field(default_factory=dict)
    resident: list[int] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    most_live: Counter[str] = field(default_factory=Counter)
    kept: dict[str, int] = field(default_factory=dict)
    last: dict[str, Any] = field(default_factory=dict)

    async def hour(self, owner: asyncpg.Connection) -> None:
        for row in await owner.fetch(TABLES_SQL):
            self.last[row["relname"]] = row
            self.most_live[row["relname"]] = max(self.most_live[row["relname"]], row["live"])
            changed = row["updated"] + row["deleted"]
            if changed:
                samples = self.seen.setdefault(row["relname"], array("d"))
                samples.extend((time.monotonic(), changed, row["dead"]))

    def most_changed(self, name: str) -> int:
        """The most rows that died within AUTOVACUUM_SECONDS, as far as can be seen."""
        times, changed = self.seen[name][0::3], self.seen[name][1::3]
        ends = [bisect(times, then + AUTOVACUUM_SECONDS) - 1 for then in times]
        return max(int(changed[end] - changed[start]) for start, end in enumerate(ends))

    def day(self, kept: dict[str, int]) -> None:
        self.kept = self.kept or kept
        for name, row in self.last.items():
            size = row["bytes"] + row["index_bytes"]
            self.bytes_by_day.setdefault(name, []).append(size)
        gc.collect()
        gc.collect()
        self.blocks.append(sys.getallocatedblocks())
        self.resident.append(resident_bytes())


def resident_bytes() -> int:
    """What this process holds in memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


@pytest.fixture
async def shop(tmp_path: Path, database_url: str) -> AsyncIterator[Shop]:
    stripe = RunningStripe(tmp_path)
    try:
        stripe.start()
        made = await open_shop(tmp_path, database_url, stripe)
        # A week takes minutes here, so what is done each minute has to be done each second.
        await made.owner.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
        await made.owner.execute("SELECT pg_reload_conf()")
        # A line for each batch would be most of what this test writes.
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
        yield made
        structlog.reset_defaults()
        await made.owner.execute("ALTER SYSTEM RESET autovacuum_naptime")
        await made.owner.execute("SELECT pg_reload_conf()")
        await made.owner.close()
    finally:
        stripe.kill()


async def week(shop: Shop, watch: Watch) -> None:
    stories, weights = list(STORIES), list(STORIES.values())
    an_hour = PAYMENTS / (DAYS * 24)
    made = 0.0
    for _ in range(DAYS):
        for _ in range(24):
            made += an_hour
            while made >= 1:
                made -= 1
                shop.begin(random.choices(stories, weights)[0](shop))
            for step in WITHIN_AN_HOUR:
                await shop.advance(step)
            await watch.hour(shop.owner)
        watch.day(shop.kept())


async def test_a_week_of_mixed_traffic_leaves_nothing_behind(shop: Shop) -> None:
    watch, begun = Watch(), time.monotonic()
    async with shop.open():
        await shop.control("PUT", "/_knobs", knobs())
        await shop.fill_caches()
        await week(shop, watch)
        print(f"the week took {time.monotonic() - begun:.0f} s; {dict(shop.answers)}")
        await shop.control("DELETE", "/_knobs")
        for _ in range(AFTERWARDS):
            await shop.advance(timedelta(hours=6))
        print(f"and a month after it, {time.monotonic() - begun:.0f} s")
        assert shop.stories_open == 0
        nothing_kept(watch, shop.kept())
        await all_came_to_an_end(shop)
        await ledger_agrees(shop)
        await nothing_piled_up(shop, watch)
        memory_stayed(watch)
        await keys_expire(shop)


async def all_came_to_an_end(shop: Shop) -> None:
    for queue in ("jobs", "refund_jobs"):
        assert await shop.fetch(f"SELECT * FROM {queue} LIMIT 5") == []
    statuses = Counter[str]()
    for table in ("payments", "refunds"):
        for row in await shop.fetch(
            f"SELECT status, status_reason, review, count(*) FROM {table} GROUP BY 1, 2, 3"
        ):
            status, reason, review, many = row
            statuses[f"{table}: {status} {reason or ''}".rstrip()] += many
            assert status in ("succeeded", "failed", "canceled"), row
            assert review is None, row
    print("\n".join(f"{many:6} {what}" for what, many in statuses.most_common()))
    missed = STATUSES_WANTED - statuses.keys()
    assert not missed, f"the week had none of: {missed}"
    payments = {row["payment_id"]: row for row in await shop.fetch("SELECT * FROM payments")}
    assert await logged(shop, payments) == []
    assert await tidied(shop, payments) == []


async def ledger_agrees(shop: Shop) -> None:
    """What the gateway took and gave back is what we say, payment by payment."""
    rows = await shop.fetch(
        "SELECT p.payment_id, captured_minor, refunding_minor, refunded_minor, "
        "coalesce(sum(r.amount_minor) FILTER (WHERE r.status = 'succeeded'), 0) AS of_refunds "
        "FROM payments p LEFT JOIN refunds r USING (legal_entity_id, payment_id) "
        "GROUP BY 1, 2, 3, 4"
    )
    ours = {
        to_text("pay", row["payment_id"]): (row["captured_minor"], row["refunded_minor"])
        for row in rows
        if row["captured_minor"]
    }
    theirs: dict[str, tuple[int, int]] = {}
    for charge in await shop.ledger("charges"):
        payment = charge["metadata"]["strongroom_payment"]
        assert payment not in theirs, f"{payment} was charged twice"
        assert charge["refund_pending"] == 0
        theirs[payment] = (charge["captured"], charge["refunded"])
    assert ours == theirs
    assert all(row["refunding_minor"] == 0 for row in rows)
    assert all(row["refunded_minor"] == row["of_refunds"] for row in rows)
    summary = await shop.control("GET", "/_ledger/summary")
    assert (summary["over_refunded"], summary["over_asked"]) == ([], 0)
    taken, given = (sum(pair[n] for pair in ours.values()) for n in (0, 1))
    print(f"{len(theirs)} charges of {taken}, {given} given back: the same on both sides")


async def nothing_piled_up(shop: Shop, watch: Watch) -> None:
    bounds = {
        row["relname"]: row["threshold"] + row["scale"] * watch.last[row["relname"]]["live"]
        for row in await shop.fetch(BOUNDS_SQL)
    }
    for name, samples in watch.seen.items():
        dead, between, bound = max(samples[2::3]), watch.most_changed(name), bounds[name]
        print(
            f"{name}: at most {dead:.0f} dead rows; vacuumed from {bound:.0f} on "
            f"({watch.last[name]['autovacuum_count']} times), {between} died meanwhile"
        )
        assert dead <= bound + between, name
    # A month in seconds was too fast for autovacuum; now it comes.
    ends = time.monotonic() + SETTLED_SECONDS_MAX
    while any(row["dead"] > bounds.get(row["relname"], 0) for row in await shop.fetch(TABLES_SQL)):
        assert time.monotonic() < ends, await shop.fetch(TABLES_SQL)
        await asyncio.sleep(0.2)
    for queue in ("jobs", "refund_jobs"):
        sizes, dead = watch.bytes_by_day[queue], max(watch.seen[queue][2::3])
        print(f"{queue}: at most {watch.most_live[queue]} live rows; bytes by day {sizes}")
        assert max(sizes) <= (watch.most_live[queue] + dead) * ROW_BYTES_MAX, queue
    # No old snapshot keeps them; an ANALYZE that runs beside it has one for a moment.
    ends = time.monotonic() + SETTLED_SECONDS_MAX
    while True:
        await shop.owner.execute("VACUUM")
        left = [row for row in await shop.fetch(TABLES_SQL) if row["dead"]]
        if not left:
            break
        assert time.monotonic() < ends, left
        await asyncio.sleep(0.2)
    for queue in QUEUES:
        [[size]] = await shop.fetch("SELECT pg_relation_size($1::regclass)", queue)
        print(f"{queue}: {size} bytes after a vacuum")
        assert size <= EMPTY_BYTES_MAX


def nothing_kept(watch: Watch, kept: dict[str, int]) -> None:
    """No queue, map or set holds more than after the first day, but for kinds of answers."""
    more = {
        path: many
        for path, many in kept.items()
        if many > watch.kept.get(path, 0) + KINDS_SEEN_LATER_MAX
    }
    print(f"{len(kept)} containers hold {sum(kept.values())}, the largest {max(kept.values())}")
    assert more == {}


def memory_stayed(watch: Watch) -> None:
    print(f"blocks by day: {watch.blocks}; MB: {[size >> 20 for size in watch.resident]}")
    assert min(watch.blocks[-3:]) <= watch.blocks[1] * BLOCKS_GROWTH_MAX
    assert watch.blocks[-1] <= watch.blocks[-3] * BLOCKS_GROWTH_LATE_MAX
    assert min(watch.resident[-3:]) <= watch.resident[1] + RESIDENT_GROWTH_MAX


async def keys_expire(shop: Shop) -> None:
    """After 400 days no key of the week is left; the walk took a page at a time."""
    shop.clock.advance(KEPT - timedelta(days=DAYS))
    [[before]] = await shop.fetch("SELECT count(*) FROM idempotency_keys")
    shop.clock.advance(timedelta(days=2 * DAYS))
    steps = 0
    while await shop.retention.step():
        steps += 1
        shop.clock.advance(PAGE_EVERY)
    [[after]] = await shop.fetch("SELECT count(*) FROM idempotency_keys")
    print(f"{before} keys expired in {steps} pages")
    assert (before > PAYMENTS, after) == (True, 0)
