"""Every row that the log has a digest of, as the superuser edits it, makes one or takes it away."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import pytest

from strongroom.cli import main
from strongroom.clock import SystemClock
from strongroom.config import Home, Settings
from strongroom.database import connect_pool
from strongroom.ids import from_text, new_id, to_text
from strongroom.log import comparing
from strongroom.log.comparing import Comparing
from strongroom.log.tiles import TileFolder
from tests.acceptance.client import Api, StandIn, order, until
from tests.acceptance.running import Running, up
from tests.acceptance.test_customers import made
from tests.acceptance.test_log import said
from tests.acceptance.test_payment_methods import save
from tests.acceptance.test_taxes import calculated

COLUMNS = {
    "refunds": ("ref", "refund_id"),
    "disputes": ("dsp", "dispute_id"),
    "payouts": ("pyt", "payout_id"),
    "customers": ("cus", "customer_id"),
    "payment_methods": ("pm", "payment_method_id"),
    "payment_method_tokens": ("pm", "payment_method_id"),
    "tax_calculations": ("txc", "calculation_id"),
    "payments": ("pay", "payment_id"),
    "events": ("pay", "payment_id"),
    "customer_events": ("cus", "owner_id"),
    "log_entries": ("pay", "subject_id"),
}
"""By table, how an id of it is written, and in which column it stands."""
EDITED = "was edited: its row is not what"
NO_EVENT = "which no event led to"
NO_ROW = "is in the log and has no row"
OTHER_EVENT = "is not what the log says it was"
NO_LONGER = "is in the log and not in the database"
EDITS = [
    ("payments", "amount_minor = amount_minor + 1", EDITED),
    ("payments", "decline = '{}'", EDITED),
    ("refunds", "amount_minor = amount_minor + 1", EDITED),
    ("refunds", "status = 'failed', status_reason = 'declined'", EDITED),
    ("refunds", "gateway_object_id = 're_other'", EDITED),
    ("refunds", "digest_salt = decode(repeat('00', 16), 'hex')", EDITED),
    ("refunds", "updated_at = updated_at - interval '1 s'", EDITED),
    ("disputes", "status = 'won'", EDITED),
    ("disputes", "disputed_minor = 0", EDITED),
    ("disputes", "evidence_due_by = evidence_due_by + interval '1 day'", EDITED),
    ("payouts", "amount_minor = amount_minor - 1", EDITED),
    ("payouts", "amount_minor = amount_minor - 1, version = version + 1", NO_EVENT),
    ("customers", "sealed = set_byte(sealed, 60, get_byte(sealed, 60) # 1)", EDITED),
    ("customers", "email_index = decode(repeat('00', 16), 'hex')", EDITED),
    ("customers", "version = version - 1", "is older in the database than in the log"),
    ("payment_methods", "status = 'detached'", EDITED),
    ("payment_methods", "customer_id = payment_method_id", EDITED),
    ("payment_methods", "next_action = '[]'", EDITED),
    ("payment_method_tokens", "token = 'pm_other'", EDITED),
    ("payment_method_tokens", "gateway_account_id = payment_method_id", EDITED),
    ("tax_calculations", "total_minor = total_minor + 1", EDITED),
    ("tax_calculations", "lines = '7'", EDITED),
    ("events", "actor = 'nobody'", OTHER_EVENT),
    ("events", "row_digest = decode(repeat('00', 32), 'hex')", OTHER_EVENT),
    ("events", "at = at + interval '1 us'", OTHER_EVENT),
    ("customer_events", "payload = '{}'", OTHER_EVENT),
    ("customer_events", "kind = 'customer.changed'", OTHER_EVENT),
    ("log_entries", "entry = entry || ' '", "is not the one that was signed"),
    ("log_entries", "version = version + 100", "is not the one that was signed"),
]
"""What of the rows of a table is set to what, and what is said of it."""
TAKEN = [
    ("refunds", NO_ROW), ("disputes", NO_ROW), ("payouts", NO_ROW), ("customers", NO_ROW),
    ("payment_methods", NO_ROW), ("payment_method_tokens", EDITED), ("tax_calculations", NO_ROW),
    ("payments", NO_ROW), ("events", NO_LONGER), ("customer_events", NO_LONGER),
    ("log_entries", "of the log is not in the database"),
]  # fmt: skip
MADE = {
    "refunds": "", "disputes": "gateway_object_id = 'dp_other'", "customers": "",
    "payouts": "gateway_object_id = 'po_other'", "payment_methods": "", "tax_calculations": "",
    "payments": "",
}  # fmt: skip
"""Tables of which a row is made that is like another, and what has to be its own."""


class Scene(NamedTuple):
    """The ids of one of each."""

    ids: dict[str, UUID]
    shown: dict[str, str]


SCENES: dict[Path, Scene] = {}


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """A deployment of its own: whatever else is in a log would be compared too."""
    folder = Path(tempfile.mkdtemp(prefix="strongroom-rows-"))
    try:
        Home(folder / "home").write_settings(Settings(mode="dev", webhooks_to_loopback=True))
        with up(folder / "home") as started:
            yield started
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def scene(running: Running, api: Api, stripe: StandIn) -> Scene:
    """One of each, at rest and signed; made once."""
    if running.home not in SCENES:
        SCENES[running.home] = await staged(running, api, stripe)
    return SCENES[running.home]


async def staged(running: Running, api: Api, stripe: StandIn) -> Scene:
    payment = await api.pay(order(), wait=20)
    refund = await api.refund(payment.id, 500, wait=20)
    await api.until_refund(refund.id, "succeeded")
    await stripe.dispute(payment.id, amount=1000)
    [dispute] = await api.disputes_of(payment.id, "needs_response")
    customer = await made(api)
    changed = await api.post(f"/v1/customers/{customer.id}", {"name": "Ada King"})
    assert changed.status == 200, changed
    card = await save(api, customer.id)
    assert card.json["status"] == "ready", card
    calculation = await calculated(api)
    there = await stripe.pay_out("eur", arrives_days=0)
    payout = await api.payout_at(there["id"], "paid")

    async def is_itemised() -> bool:
        return bool((await api.get(f"/v1/payouts/{payout['id']}")).json["itemised"])

    await until(is_itemised)
    await asyncio.to_thread(agreed, running)
    ids = {
        "payments": payment.id, "refunds": refund.id, "disputes": dispute["id"],
        "customers": customer.id, "payment_methods": card.id, "payouts": payout["id"],
        "tax_calculations": calculation["id"],
    }  # fmt: skip
    ids |= {
        "events": payment.id, "log_entries": payment.id, "customer_events": customer.id,
        "payment_method_tokens": card.id,
    }  # fmt: skip
    prefixes: dict[str, Any] = {table: prefix for table, (prefix, _) in COLUMNS.items()}
    return Scene({table: from_text(prefixes[table], one) for table, one in ids.items()}, ids)


def agreed(running: Running) -> None:
    """Waits until all is signed and agrees."""
    told = ""
    for _ in range(60):
        code, told = said(running, "verify", "--rows")
        assert code == 0, told
        if ", 0 to be signed\n" in told:
            return
    raise AssertionError(told)


class Superuser:
    """Does as he likes with the rows of one table, and can put them back."""

    def __init__(self, owner: asyncpg.Connection, scene: Scene, table: str) -> None:
        self._owner, self._table, self._id = owner, table, scene.ids[table]
        self._of = f"{table} WHERE {COLUMNS[table][1]} = $1"

    async def keep(self) -> None:
        rows = self._of.replace("$1", f"'{self._id}'")
        await self._owner.execute(f"CREATE TEMPORARY TABLE kept AS SELECT * FROM {rows}")

    async def set(self, change: str) -> None:
        table, where = self._of.split(" ", 1)
        await self._owner.execute(f"UPDATE {table} SET {change} {where}", self._id)

    async def take(self) -> None:
        await self._owner.execute(f"DELETE FROM {self._of}", self._id)

    async def put_back(self) -> None:
        await self.take()
        await self._owner.execute(f"INSERT INTO {self._table} SELECT * FROM kept")

    async def add_like(self, own: str) -> UUID:
        """Another row like it; its id."""
        column, other = COLUMNS[self._table][1], new_id(1_790_000_000_000_000, self._id)
        changes = f"{column} = '{other}'" + (f", {own}" if own else "")
        await self._owner.execute(f"UPDATE kept SET {changes}")
        await self._owner.execute(f"INSERT INTO {self._table} SELECT * FROM kept")
        return other

    async def take_other(self, other: UUID) -> None:
        await self._owner.execute(f"DELETE FROM {self._of}", other)


def told_of(running: Running) -> tuple[int, str]:
    return said(running, "verify", "--rows")


async def is_named(
    running: Running, superuser: Superuser, scene: Scene, table: str, problem: str
) -> None:
    """What the superuser did is told, with the row that it was done to; then it is undone."""
    try:
        code, told = told_of(running)
    finally:
        await superuser.put_back()
    assert (code, problem in told) == (1, True), told
    if table != "log_entries":
        assert scene.shown[table] in told or str(scene.ids[table]) in told, told


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("table", "change", "problem"), EDITS)
async def test_an_edit_is_named(
    running: Running,
    owner: asyncpg.Connection,
    scene: Scene,
    table: str,
    change: str,
    problem: str,
) -> None:
    superuser = Superuser(owner, scene, table)
    await superuser.keep()
    await superuser.set(change)
    await is_named(running, superuser, scene, table, problem)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("table", "problem"), TAKEN)
async def test_what_is_taken_away_is_missed(
    running: Running, owner: asyncpg.Connection, scene: Scene, table: str, problem: str
) -> None:
    superuser = Superuser(owner, scene, table)
    await superuser.keep()
    await superuser.take()
    await is_named(running, superuser, scene, table, problem)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("table", MADE)
async def test_a_row_without_an_event_is_named(
    running: Running, owner: asyncpg.Connection, scene: Scene, table: str
) -> None:
    superuser = Superuser(owner, scene, table)
    await superuser.keep()
    other = await superuser.add_like(MADE[table])
    try:
        code, told = told_of(running)
    finally:
        await superuser.take_other(other)
    prefix: Any = COLUMNS[table][0]
    assert (code, NO_EVENT in told, to_text(prefix, other) in told) == (1, True, True), told


async def test_an_event_that_nobody_placed_is_named(
    running: Running, owner: asyncpg.Connection, scene: Scene
) -> None:
    """Made up by hand, with a transaction that the sequencer has long seen."""
    for table, of in (("events", "payments"), ("customer_events", "customers")):
        column = COLUMNS[table][1]
        await owner.execute(
            f"INSERT INTO {table} (legal_entity_id, {column}, version, kind, actor, at, "
            f"row_digest, payload, xid) SELECT legal_entity_id, {column}, 100, kind, actor, "
            f"at - interval '1 h', row_digest, payload, 3 FROM {table} "
            f"WHERE {column} = $1 AND version = 1",
            scene.ids[of],
        )
        try:
            code, told = told_of(running)
        finally:
            await owner.execute(
                f"DELETE FROM {table} WHERE {column} = $1 AND version = 100", scene.ids[of]
            )
        assert code == 1, told
        assert f"event 100 of {scene.ids[of]}" in told
        assert "is in the database and not in the log" in told


@pytest.mark.parametrize("page", [1, 3])
async def test_it_is_compared_in_pages_of_any_size(
    running: Running,
    owner: asyncpg.Connection,
    scene: Scene,
    page: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And nothing is kept of what was seen, so that a log of any length fits into memory."""
    monkeypatch.setattr(comparing, "PAGE", page)
    monkeypatch.setattr(comparing, "TOLD_MAX", 1)
    words = ["verify", "--rows", "--home", str(running.home)]
    assert await asyncio.to_thread(main, words) == 0, capsys.readouterr()
    superuser = Superuser(owner, scene, "refunds")
    await superuser.keep()
    await superuser.set("status = 'pending'")
    try:
        assert await asyncio.to_thread(main, words) == 1
    finally:
        await superuser.put_back()
    assert f"refund {scene.shown['refunds']} {EDITED}" in capsys.readouterr().err
    pool = await connect_pool(
        Home(running.home).secret("database_api_url"), size_max=1, application="test"
    )
    entity = from_text("ent", running.legal_entity)
    compared = Comparing(pool, entity, SystemClock().now())
    folder = TileFolder(running.home / "log" / running.legal_entity)
    size = int((folder.checkpoint() or b"").split(b"\n")[1])
    found = await compared.compare(folder.entries(0, size))
    await pool.close()
    assert (found.events, found.problems) == (size, [])
    kept = [one for one in vars(compared).values() if isinstance(one, dict | list | set)]
    assert sum(map(len, kept)) == len(found.rows) == 7


async def test_all_agrees_again(running: Running, scene: Scene) -> None:
    """Last: what was put back is what it was, and every kind of row was compared."""
    code, told = told_of(running)
    assert code == 0, told
    counted = dict(line.split(None, 1) for line in told.splitlines())
    for name in ("payments", "refunds", "disputes", "payouts", "customers", "saved", "taxes"):
        assert int(counted[name]) >= 1, told
