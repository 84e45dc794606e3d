"""A bundle of a payment: who has the file and the log's key needs nothing else of us."""

import asyncio
import json
import os
import pwd
import signal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from strongroom.cli import bundling, main
from strongroom.ids import from_text, new_id, to_text
from tests.acceptance.client import Api, order, until
from tests.acceptance.running import Running
from tests.acceptance.test_log import said
from tests.acceptance.tills import Till

PATIENCE_SECONDS = 1.0
EXPORTS = """
SELECT count(*) FROM events WHERE legal_entity_id = $1 AND kind = 'payment_bundle.exported'
"""


async def argued_about(api: Api, till: Till) -> tuple[str, str]:
    """A payment of which a part was given back and another is disputed, and the refund."""
    payment = await till.paid(api)
    await till.settled(payment)
    refund = await api.refund(payment, 500, wait=20)
    assert refund.status in (201, 202), refund
    await till.dispute(payment, amount=1000)
    await api.disputes_of(payment, "needs_response")
    return payment, refund.id


def bundled(running: Running, payment: str, file: Path) -> dict[str, Any]:
    """What is in the bundle that the command has made."""
    code, words = said(running, "explain", payment, "--bundle", str(file))
    assert code == 0, words
    assert f"check it by: strongroom verify --bundle {file} --key" in words
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def is_empty(folder: Path) -> bool:
    """No file, and no part of one."""
    return not list(folder.iterdir())


def key_of(running: Running) -> str:
    return str(running.home / "log" / running.legal_entity / "key")


async def test_a_disputed_payment_is_shown_to_who_has_no_database(
    api: Api, running: Running, till: Till, tmp_path: Path
) -> None:
    (payment, refund), file = await argued_about(api, till), tmp_path / "bundle.json"
    story = bundled(running, payment, file)["story"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert [one["id"] for one in story["refunds"]] == [refund]
    [dispute] = await api.disputes_of(payment)
    [shown] = story["disputes"]
    assert (shown["id"], shown["status"]) == (dispute["id"], "needs_response")
    assert (shown["gateway_object_id"], shown["amount_minor"]) == (dispute["gateway_dispute"], 1000)
    assert story["standing"]["disputed_minor"] == 1000
    assert story["attempts"][0]["gateway_object_id"]
    check = ("verify", "--bundle", str(file), "--key", key_of(running))
    code, words = said(running, *check)
    assert code == 0, words
    assert f"bundle  {payment}: {story['version']} events, each in the log\n" in words
    assert f"  by operator:{pwd.getpwuid(os.getuid()).pw_name}\nstands  succeeded" in words
    for one in (refund, shown["id"], "dispute.opened", f"/{running.legal_entity}\n"):
        assert one in words
    file.write_text(file.read_text().replace('"needs_response"', '"won"'))
    code, words = said(running, *check)
    assert code == 1, words


async def test_a_bundle_tells_nothing_that_explain_does_not(
    api: Api, running: Running, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    """No token, no key at the gateway, no salt, nothing that the merchant wrote."""
    made = await api.pay(
        order(
            description="Zebulon Quackenbush, Elsewhere Street", metadata={"mail": "z@q.example"},
            return_url="https://shop.example/back?session=canary",
        ),
        wait=20,
    )  # fmt: skip
    refunded = await api.refund(made.id, 100, metadata={"who": "Zebulon again"}, wait=20)
    assert refunded.status in (201, 202), refunded
    content = bundled(running, made.id, tmp_path / "bundle.json")
    text = (tmp_path / "bundle.json").read_text()
    [row] = await owner.fetch(
        "SELECT * FROM payments WHERE payment_id = $1", from_text("pay", made.id)
    )
    [attempt] = await owner.fetch(
        "SELECT * FROM attempts WHERE payment_id = $1", from_text("pay", made.id)
    )
    secret = (running.home / "secrets" / "stripe_key").read_text().strip()
    for hidden in (
        "Zebulon", "Quackenbush", "Elsewhere", "z@q.example", "canary", row["instrument_token"],
        row["digest_salt"].hex(), row["gateway_key_seed"].hex(), attempt["gateway_key"], secret,
        running.api_key,
    ):  # fmt: skip
        assert hidden
        assert hidden not in text, hidden
    assert content["story"]["standing"]["merchant_reference"] == row["merchant_reference"]


async def test_who_exported_what_is_in_the_log(
    api: Api, running: Running, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    """An access to a payment's whole story, with the fields of PCI DSS 10.2.2."""
    made, entity = await api.pay(order(), wait=20), from_text("ent", running.legal_entity)
    before = await owner.fetchval(EXPORTS, entity)
    bundled(running, made.id, tmp_path / "bundle.json")
    assert await owner.fetchval(EXPORTS, entity) == before + 1
    [event] = await owner.fetch(
        "SELECT * FROM events WHERE legal_entity_id = $1 AND payment_id = $1 "
        "ORDER BY version DESC LIMIT 1",
        entity,
    )
    payload = json.loads(event["payload"])
    assert event["actor"] == f"operator:{pwd.getpwuid(os.getuid()).pw_name}"
    assert (payload["payment"], payload["outcome"]) == (made.id, "succeeded")
    assert payload["origin"] == {"by": "command_line", "host": os.uname().nodename}
    explained = running.command("explain", made.id)
    assert await owner.fetchval(EXPORTS, entity) == before + 1, explained


async def test_a_payment_that_is_still_open_is_told_as_it_stands(
    api: Api, running: Running, tmp_path: Path
) -> None:
    made = await api.pay(order(None))
    story = bundled(running, made.id, tmp_path / "bundle.json")["story"]
    assert (story["standing"]["status"], story["attempts"]) == ("requires_payment_method", [])
    held = await api.pay(order(capture="manual"), wait=20)
    assert held.json["status"] == "authorized", held
    story = bundled(running, held.id, tmp_path / "bundle.json")["story"]
    assert story["standing"]["capture_before"] == held.json["capture_before"]
    declined = await api.pay(order("pm_card_visa_chargeDeclined"), wait=20)
    await api.until(declined.id, "failed", "requires_payment_method")
    story = bundled(running, declined.id, tmp_path / "bundle.json")["story"]
    assert story["standing"]["status_reason"]


async def test_what_the_log_does_not_say_is_not_exported(
    api: Api, running: Running, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    """A superuser's edit is not carried into a bundle under the log's signature."""
    made, entity = await api.pay(order(), wait=20), from_text("ent", running.legal_entity)
    before = await owner.fetchval(EXPORTS, entity)
    edit = "UPDATE payments SET status_reason = $2 WHERE payment_id = $1"
    await owner.execute(edit, from_text("pay", made.id), "edited")
    file = tmp_path / "bundle.json"
    try:
        code, words = said(running, "explain", made.id, "--bundle", str(file))
    finally:
        await owner.execute(edit, from_text("pay", made.id), None)
    assert (code, "`status_reason` is not what the log says" in words) == (1, True), words
    assert "verify --rows" in words
    assert is_empty(tmp_path)
    assert await owner.fetchval(EXPORTS, entity) == before


async def test_what_cannot_be_exported_leaves_no_event(
    api: Api, running: Running, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    entity = from_text("ent", running.legal_entity)
    made, before = await api.pay(order(), wait=20), await owner.fetchval(EXPORTS, entity)
    unknown = to_text("pay", new_id(1, entity))
    file = str(tmp_path / "bundle.json")
    for words, why in (
        ((unknown, "--bundle", file), "there is no such payment"),
        ((unknown.replace("pay_", "ref_"), "--bundle", file), "not an id"),
        ((made.id, "--bundle", str(tmp_path / "nowhere/bundle.json")), "No such file"),
        ((made.id, "--bundle", str(tmp_path)), "Is a directory"),
    ):
        code, answer = said(running, "explain", *words)
        assert (code, why in answer) == (1, True), answer
    assert is_empty(tmp_path)
    assert await owner.fetchval(EXPORTS, entity) == before


async def test_without_a_signer_it_says_so_in_time(
    api: Api,
    running: Running,
    owner: asyncpg.Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And nothing is noted of an export that was none."""
    monkeypatch.setattr(bundling, "WAIT_SECONDS_MAX", PATIENCE_SECONDS)
    monkeypatch.setattr(bundling, "TELL_AFTER_SECONDS", 0.0)
    entity, file = from_text("ent", running.legal_entity), tmp_path / "bundle.json"
    before = await owner.fetchval(EXPORTS, entity)
    os.kill(running.pids["signer"], signal.SIGSTOP)
    try:
        made = await api.pay(order(), wait=20)
        words = ["explain", made.id, "--bundle", str(file), "--home", str(running.home)]

        async def is_placed() -> bool:
            return "  log " in running.command("explain", made.id).splitlines()[-3]

        await until(is_placed)
        assert await asyncio.to_thread(main, words) == 1
    finally:
        os.kill(running.pids["signer"], signal.SIGCONT)
    error = capsys.readouterr().err
    assert "waiting for the signer to sign the log, 1 s at most" in error
    assert "does the signer run? Start `strongroom signer`" in error
    assert is_empty(tmp_path)
    assert await owner.fetchval(EXPORTS, entity) == before
    bundled(running, made.id, file)
