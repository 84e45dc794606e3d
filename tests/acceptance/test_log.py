"""The log of a deployment: signed as payments go on, proven to outsiders, compared with rows."""

import json
import subprocess
from pathlib import Path

import asyncpg
import pytest

from strongroom.ids import from_text
from tests.acceptance.client import Api, order, until
from tests.acceptance.conftest import Merchant, new_merchant
from tests.acceptance.running import Running, environment, program

BOTH = "amount_minor = amount_minor {0} 1, version = version {0} 1"
EDITS = {
    "an amount": (
        "UPDATE payments SET amount_minor = amount_minor + 1 WHERE payment_id = $1",
        "UPDATE payments SET amount_minor = amount_minor - 1 WHERE payment_id = $1",
        "was edited: its row is not what its event",
    ),
    "a status": (
        "UPDATE payments SET status = 'failed' WHERE payment_id = $1",
        "UPDATE payments SET status = 'succeeded' WHERE payment_id = $1",
        "was edited: its row is not what its event",
    ),
    "an amount and a version": (
        f"UPDATE payments SET {BOTH.format('+')} WHERE payment_id = $1",
        f"UPDATE payments SET {BOTH.format('-')} WHERE payment_id = $1",
        "which no event led to",
    ),
    "a version": (
        "UPDATE payments SET version = version - 1 WHERE payment_id = $1",
        "UPDATE payments SET version = version + 1 WHERE payment_id = $1",
        "is older in the database than in the log",
    ),
    "an event": (
        "UPDATE events SET actor = 'nobody' WHERE payment_id = $1 AND version = 1",
        "UPDATE events SET actor = 'key:all' WHERE payment_id = $1 AND version = 1",
        "is not what the log says it was",
    ),
}
"""What a superuser does to a payment, how it is undone, and what is said of it."""


@pytest.fixture(scope="module")
def audited(running: Running) -> Merchant:
    """A legal entity whose rows these tests edit."""
    return new_merchant(running, "Audited Ltd")


@pytest.fixture
def audited_api(api: Api, audited: Merchant) -> Api:
    return api.with_key(audited.api_key)


def said(running: Running, *words: str) -> tuple[int, str]:
    """Exit code and all that a command of the home says."""
    done = subprocess.run(
        [*program(*words), "--home", str(running.home)], env=environment(), capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


async def paid(api: Api, running: Running) -> str:
    """A payment whose every event is signed."""
    made = await api.pay(order(), wait=20)
    assert made.json["status"] == "succeeded", made

    async def is_signed() -> bool:
        code, _ = said(running, "prove", made.id, "--out", "/dev/null")
        versions = running.command("explain", made.id).count("  log ")
        return code == 0 and versions >= 2

    await until(is_signed)
    return made.id


async def test_a_payment_is_proven_to_who_has_no_database(
    audited_api: Api, running: Running, tmp_path: Path, audited: Merchant
) -> None:
    payment = await paid(audited_api, running)
    proof, key = tmp_path / "proof.json", running.home / "log" / audited.legal_entity / "key"
    told = running.command("prove", payment, "--out", str(proof))
    assert f"verify --proof {proof} --key {key}" in told
    code, told = said(running, "verify", "--proof", str(proof), "--key", str(key))
    assert code == 0, told
    assert "payment.accepted" in told
    assert f"/{audited.legal_entity}\n" in told
    content = json.loads(proof.read_text())
    another = {**content, "id": await paid(audited_api, running)}
    drawing = {**content, "id": content["id"] + "\x1b[2J"}
    shorter = {**content, "entries": content["entries"][1:]}
    tried = ((another, "another subject"), (drawing, "another subject"), (shorter, "not version 1"))
    for forged, why in tried:
        proof.write_text(json.dumps(forged))
        code, told = said(running, "verify", "--proof", str(proof), "--key", str(key))
        assert (code, why in told, "\x1b" in told) == (1, True, False), told


async def test_explain_says_where_the_log_has_an_event(audited_api: Api, running: Running) -> None:
    payment = await paid(audited_api, running)
    lines = [line for line in running.command("explain", payment).splitlines() if "  v" in line]
    assert all("  log " in line for line in lines), lines


async def test_a_log_is_checked_from_a_copy_of_its_folder(
    audited_api: Api, running: Running, audited: Merchant
) -> None:
    await paid(audited_api, running)
    folder = running.home / "log" / audited.legal_entity
    code, told = said(running, "verify", "--log", str(folder), "--key", str(folder / "key"))
    assert code == 0, told
    assert "entries/s" in told
    other = running.home / "log" / running.legal_entity
    code, told = said(running, "verify", "--log", str(other), "--key", str(folder / "key"))
    assert code == 1, told


@pytest.mark.sampled(3)
@pytest.mark.parametrize("what", EDITS)
async def test_what_a_superuser_edits_is_named(
    audited_api: Api, running: Running, owner: asyncpg.Connection, audited: Merchant, what: str
) -> None:
    payment = await paid(audited_api, running)
    edit, undo, problem = EDITS[what]
    rows = ("verify", "--rows", "--entity", audited.legal_entity)
    code, told = said(running, *rows)
    assert code == 0, told
    actor = await owner.fetchval(
        "SELECT actor FROM events WHERE payment_id = $1 AND version = 1",
        from_text("pay", payment),
    )
    await owner.execute(edit, from_text("pay", payment))
    try:
        code, told = said(running, *rows)
    finally:
        await owner.execute(undo.replace("key:all", actor), from_text("pay", payment))
    assert code == 1, told
    assert problem in told
    assert payment in told or str(from_text("pay", payment)) in told
    assert said(running, *rows)[0] == 0


async def test_a_payment_that_is_taken_away_is_missed(
    audited_api: Api, running: Running, owner: asyncpg.Connection, audited: Merchant
) -> None:
    payment = await paid(audited_api, running)
    rows = ("verify", "--rows", "--entity", audited.legal_entity)
    await owner.execute("BEGIN")
    one = f"payment_id = '{from_text('pay', payment)}'"
    await owner.execute(f"CREATE TEMPORARY TABLE kept AS SELECT * FROM payments WHERE {one}")
    await owner.execute("DELETE FROM payments WHERE payment_id = $1", from_text("pay", payment))
    await owner.execute("COMMIT")
    try:
        code, told = said(running, *rows)
    finally:
        await owner.execute("INSERT INTO payments SELECT * FROM kept")
    assert (code, f"payment {payment} is in the log and has no row" in told) == (1, True), told
    assert said(running, *rows)[0] == 0


async def test_no_personal_value_stands_in_a_log(
    api: Api, running: Running, owner: asyncpg.Connection
) -> None:
    """What a caller writes of people is sealed apart; references are all that the log has."""
    made = await api.post(
        "/v1/customers",
        {"name": "Zebulon Quackenbush", "email": "zebulon@quackenbush.example",
         "phone": "+4930555577701"},
    )  # fmt: skip
    assert made.status == 201, made
    paid = await api.pay(order(description="for Zebulon Quackenbush, Elsewhere Street"), wait=20)
    assert paid.status == 201, paid
    subjects = [from_text("cus", made.id), from_text("pay", paid.id)]

    async def are_placed() -> bool:
        found = await owner.fetch(
            "SELECT DISTINCT subject_id FROM log_entries WHERE subject_id = ANY ($1)", subjects
        )
        return len(found) == len(subjects)

    await until(are_placed)
    rows = await owner.fetch("SELECT entry FROM log_entries")
    everything = b"".join(row["entry"] for row in rows).lower()
    for word in (b"zebulon", b"quackenbush", b"555577701", b"elsewhere street"):
        assert word not in everything
