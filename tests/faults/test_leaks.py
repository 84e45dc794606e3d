"""A run with known secrets, card numbers and personal data, and then a look everywhere for them."""

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from strongroom.clock import SystemClock, microseconds_since_epoch
from strongroom.config import Home, Settings
from strongroom.ids import from_text, new_id, to_text
from strongroom.vault.envelope import Column
from strongroom.vault.opening import open_vault
from tests.acceptance.client import Api, fresh, order, until
from tests.acceptance.collector import Collector, collecting
from tests.acceptance.running import Running, program, up
from tests.faults.leaks import forms_of, leaks_below, leaks_in

CARDS = ["4111111111111111", "5555555555554444", "378282246310005"]
PERSON = {"name": "Ottilie Sommerfeld", "email": "ottilie@sommerfeld.example"}
TEXTS = ["Grave plot 23 east", "allergic-to-peanuts", "birthday 1931-02-17"]
SECRETS = [f"whsec_{uuid.uuid4().hex}{uuid.uuid4().hex}"]
WHY = "because her sister Hermine paid"
RECEIVER = f"token-{uuid.uuid4().hex}-in-an-address"
NAME = Column("customers", "name").label
SEEN = "order-that-is-seen-everywhere"
SETTLED_SECONDS = 20

pytestmark = pytest.mark.faults


@asynccontextmanager
async def deployment() -> AsyncIterator[tuple[Running, Api, Collector]]:
    """One that traces everything."""
    folder = Path(tempfile.mkdtemp(prefix="strongroom-leaks-"))
    try:
        async with collecting() as collector, aiohttp.ClientSession() as session:
            Home(folder / "home").write_settings(
                Settings(traces_url=collector.url, traces_one_in=1, gateway_deadline_seconds=2.0)
            )
            with up(folder / "home") as running:
                yield running, Api(session, running.api_url, running.api_key), collector
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def shop(api: Api) -> list[str]:
    """Payments and refunds with texts; returns the payments' ids."""
    made = []
    for text in TEXTS:
        body = order(description=text, metadata={text: text}, merchant_reference=fresh(SEEN))
        made.append((await api.pay(body, wait=SETTLED_SECONDS)).id)
        await api.refund(made[-1], 100, metadata={"why": WHY}, wait=SETTLED_SECONDS)
        await api.get(f"/v1/payments/{made[-1]}")
    await api.get("/v1/payments")
    customer = await api.post("/v1/customers", PERSON)
    await api.post(f"/v1/customers/{customer.id}", {"name": PERSON["name"], "email": None})
    return made


async def send_cards(api: Api) -> None:
    """Card numbers wherever a request has room for them."""
    for card in CARDS:
        for body in (
            order(description=f"card {card}"),
            order(metadata={card: "x"}),
            order(merchant_reference=card),
            order(token=f"pm_{card}"),
            order(description=" ".join(card[at : at + 4] for at in range(0, len(card), 4))),
        ):
            assert (await api.pay(body)).status == 422
        answers = [
            await api.post("/v1/refunds", {"payment": card}),
            await api.post("/v1/payments", order(), key=card),
            await api.post("/v1/payments", order(), headers={"X-Request-Id": f"id-{card}"}),
            await api.post("/v1/payments", f'{{"amount": {card}'.encode()),
        ]
        for path in (f"/v1/payments/{card}", f"/{card}/x", f"/v1/payments?cursor={card}"):
            url = api.url + path
            headers = {"Authorization": f"Bearer {api.api_key}", "User-Agent": f"shop/{card}"}
            async with api.session.get(url, headers=headers) as answer:
                assert card not in await answer.text()
        assert all(card.encode() not in answer.body for answer in answers)


async def seal_person(running: Running, owner: asyncpg.Connection) -> None:
    """Personal values under a key of their own, in the database of the payments."""
    home, entity = Home(running.home), from_text("ent", running.legal_entity)
    now = SystemClock().now()
    subject = new_id(microseconds_since_epoch(now), entity)
    vault = await open_vault(home, home.settings(), "api")
    try:
        await vault.subjects.create(entity, subject, now)
        await owner.execute("CREATE TABLE people (field text, sealed bytea)")
        for field, value in PERSON.items():
            sealed = await vault.subjects.seal(
                entity, subject, NAME, field.encode(), value.encode()
            )
            await owner.execute("INSERT INTO people VALUES ($1, $2)", field, sealed)
    finally:
        await vault.close()


async def enter_secrets(running: Running, owner: asyncpg.Connection) -> str:
    """A second version of a secret of an account; returns what the commands say."""
    account = await owner.fetchval(
        "SELECT gateway_account_id FROM gateway_accounts WHERE gateway = 'stripe'"
    )
    file = Home(running.home).write_secret("entered", SECRETS[0])
    said = running.command(
        "secrets", "rotate", to_text("gwa", account), "stripe_webhook_secret", "--file", str(file)
    )
    file.unlink()
    said += running.command(
        "endpoints", "add", f"https://hooks.example/{RECEIVER}", "--kinds", "payment.*,customer.*",
        "--from-index", "0", "--secret-file", str(file),
    )  # fmt: skip
    SECRETS.append(file.read_text().strip())
    file.unlink()
    return said + running.command("secrets", "list") + running.command("endpoints", "list")


async def crash(running: Running, api: Api) -> str:
    """Processes that die in the middle of it; returns what a command says that fails."""
    for number in (signal.SIGABRT, signal.SIGKILL):
        for name in ("api", "api-2", "worker"):
            for pid in _pids(running, name):
                os.kill(pid, number)
        body = order(description=TEXTS[0])

        async def is_back(wanted: dict[str, object] = body) -> bool:
            try:
                return (await api.pay(wanted)).status < 500
            except aiohttp.ClientError:
                return False

        await until(is_back)
    return _fails(running, "api", "--port", "0") + _fails(running, "vault", "rotate")


def _fails(running: Running, *words: str) -> str:
    """What a command says that fails."""
    done = subprocess.run(
        [*program(*words), "--home", str(running.home / "none")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode
    return done.stdout + done.stderr


def _of_processes(running: Running, what: str) -> list[bytes]:
    """A file of /proc of each API process and worker."""
    return [
        Path(f"/proc/{pid}/{what}").read_bytes()
        for name in ("api", "worker")
        for pid in _pids(running, name)
    ]


def _pids(running: Running, name: str) -> list[int]:
    """The living ones, which may be others than those that were started first."""
    port = {"worker": "worker"}.get(name, "api")
    found = subprocess.run(
        ["pgrep", "-f", f"strongroom {port} --home {running.home}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return [int(pid) for pid in found.stdout.split()]


async def test_nothing_of_it_is_found_anywhere() -> None:
    async with deployment() as (running, api, collector):
        secrets = running.home / "secrets"
        stripe_key = (secrets / "stripe_key").read_text().strip()
        await shop(api)
        await send_cards(api)
        owner = await asyncpg.connect(
            running.owner_url, server_settings={"search_path": "strongroom, directory"}
        )
        await seal_person(running, owner)
        said = await enter_secrets(running, owner) + await crash(running, api)
        hidden = [*CARDS, *TEXTS, WHY, *PERSON.values(), running.api_key, stripe_key, *SECRETS]
        hidden.append(RECEIVER)
        said += running.command("vault", "rotate", "--entity", running.legal_entity, "--no-wait")
        said += running.command("vault", "reencrypt")
        metrics = ""
        for url in running.metrics_urls.values():
            try:
                async with api.session.get(url) as answer:
                    metrics += await answer.text()
            except aiohttp.ClientError:
                continue  # one that came back elsewhere
        await owner.execute("CHECKPOINT")
        environments = b"".join(
            content for what in ("environ", "cmdline") for content in _of_processes(running, what)
        )
        limits = _of_processes(running, "limits")
        # The database's files and its WAL, logs, the stand-in's books, whatever lies in the home.
        # What the files of secrets hold is what they are for.
        found = leaks_below(running.home, hidden, but=[secrets])
        for place, content in {
            "traces": collector.raw, "metrics": metrics.encode(), "commands": said.encode(),
            "processes": environments,
        }.items():  # fmt: skip
            found += [f"{place}: {leak}" for leak in leaks_in(content, hidden)]
        assert found == []
        assert metrics
        assert len(limits) >= 2
        assert collector.spans
        assert all(b"Max core file size        0 " in text for text in limits)
        # The look itself: what is not hidden is found, in what was signed too.
        assert leaks_below(running.home, [SEEN], but=[secrets])
        assert leaks_below(running.home / "log", [SEEN])
        assert leaks_below(running.home / "log", ["customer.created", "customer.changed"])
        await owner.close()


@pytest.mark.parametrize("value", ["4111111111111111", "Ottilie Sommerfeld"])
def test_the_look_finds_every_form(value: str, tmp_path: Path) -> None:
    for name, form in forms_of(value).items():
        (tmp_path / "file").write_bytes(b"x" * 5000 + form + b"y" * 100)
        assert any(name in leak for leak in leaks_below(tmp_path, [value])), name
    assert leaks_below(tmp_path, ["something else"]) == []
