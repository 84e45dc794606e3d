"""The way here from a plain Stripe integration, and the way away again, by the command line."""

import asyncio
import csv
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import stripe as sdk

from tests.acceptance.client import Api, StandIn, order
from tests.acceptance.hooks import Account, event
from tests.acceptance.running import COMMAND_SECONDS_MAX, Running, environment, program
from tests.acceptance.test_adopting import theirs
from tests.acceptance.test_payment_methods import customer
from tests.acceptance.test_webhooks import ours  # noqa: F401

CARDS = 12


def run(
    running: Running, *words: str, key: str | None = None
) -> "subprocess.CompletedProcess[str]":
    more = {} if key is None else {"STRONGROOM_API_KEY": key}
    return subprocess.run(
        [*program(*words), "--home", str(running.home)],
        env=environment() | more, capture_output=True, text=True,
        timeout=COMMAND_SECONDS_MAX, check=False,
    )  # fmt: skip


def adopt(running: Running, file: Path, results: Path, *words: str, **more: Any) -> Any:
    words = ("payment-methods", "adopt", str(file), "--results", str(results), *words)
    return run(running, *words, "--url", running.api_url, **more)


def rows(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text())))


def listed(file: Path, cards: list[tuple[str, str]]) -> Path:
    file.write_text(
        "customer,payment_method\n" + "".join(f"{one},{token}\n" for one, token in cards)
    )
    return file


async def test_a_file_of_cards_is_adopted_once_and_says_which_were_refused(
    running: Running, api: Api, client: sdk.StripeClient, tmp_path: Path
) -> None:
    cards = [await theirs(client) for _ in range(CARDS)]
    second = await asyncio.to_thread(
        client.v1.payment_methods.attach, "pm_card_mastercard", {"customer": cards[0][0]}
    )
    wrong = (cards[1][0], cards[2][1])
    file = listed(tmp_path / "cards.csv", [*cards, (cards[0][0], second.id), wrong, cards[3]])
    results = tmp_path / "results.csv"
    first = await asyncio.to_thread(adopt, running, file, results)
    assert first.returncode == 1, first.stderr
    assert f"{CARDS + 1} adopted, 1 refused" in first.stderr
    assert f"{wrong[1]} of {wrong[0]}: " in first.stderr
    assert f"adopted: {CARDS + 2} of {CARDS + 2}" in first.stderr, (
        "a bar, also where no terminal is"
    )
    assert results.stat().st_mode & 0o077 == 0
    adopted = {row["payment_method"]: row for row in rows(results) if not row["refused"]}
    assert adopted.keys() == {token for _, token in cards} | {second.id}
    assert (
        adopted[cards[0][1]]["strongroom_customer"] == (adopted[second.id]["strongroom_customer"])
    ), "cards of one customer there are of one here"
    for row in list(adopted.values())[:3]:
        shown = await api.get(f"/v1/payment_methods/{row['strongroom_payment_method']}")
        assert (shown.json["status"], shown.json["customer"]) == (
            "ready", row["strongroom_customer"],
        )  # fmt: skip
    made = {row["strongroom_payment_method"] for row in adopted.values()}
    # Stopped within a line, or without its results: run again, it does nothing twice.
    results.write_text(results.read_text().rstrip()[:-1])
    again = await asyncio.to_thread(adopt, running, file, results)
    assert f"{CARDS + 1} adopted, 1 refused" in again.stderr
    lost = tmp_path / "lost.csv"
    await asyncio.to_thread(adopt, running, file, lost)
    whole = {row["strongroom_payment_method"] for row in rows(lost) if not row["refused"]}
    assert whole == made


async def test_a_consent_comes_with_its_card_and_the_next_line_has_none(
    running: Running, api: Api, client: sdk.StripeClient, tmp_path: Path
) -> None:
    (first, agreed), (second, silent) = [await theirs(client) for _ in range(2)]
    file, results = tmp_path / "cards.csv", tmp_path / "results.csv"
    file.write_text(
        "customer,payment_method,consent_given_at,consent_text,consent_purpose\n"
        f"{first},{agreed},2025-03-01T10:00:00Z,terms-2025,recurring\n{second},{silent},,,\n"
    )
    done = await asyncio.to_thread(adopt, running, file, results)
    assert "2 adopted, 0 refused" in done.stderr
    ids = {row["payment_method"]: row["strongroom_payment_method"] for row in rows(results)}
    shown = [
        (await api.get(f"/v1/payment_methods/{ids[one]}")).json["consent"]
        for one in (agreed, silent)
    ]
    assert (shown[0]["text_version"], shown[0]["purpose"]) == ("terms-2025", "recurring")
    assert shown[1] is None


async def test_what_was_refused_is_adopted_by_a_later_run_once_it_is_right(
    running: Running, api: Api, client: sdk.StripeClient, tmp_path: Path
) -> None:
    known, _ = await theirs(client)
    ada = await customer(api)
    saved = await asyncio.to_thread(
        client.v1.payment_methods.attach, "pm_card_visa", {"customer": known}
    )
    other, _ = await theirs(client)
    file, results = tmp_path / "cards.csv", tmp_path / "results.csv"
    file.write_text(f"customer,payment_method,strongroom_customer\n{other},{saved.id},{ada}\n")
    assert (await asyncio.to_thread(adopt, running, file, results)).returncode == 1
    assert rows(results)[0]["refused"] == "not_of_this_customer"
    file.write_text(f"customer,payment_method,strongroom_customer\n{known},{saved.id},{ada}\n")
    done = await asyncio.to_thread(adopt, running, file, results)
    assert done.returncode == 0, done.stderr
    assert rows(results)[-1]["strongroom_customer"] == ada


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("customer\ncus_1\n", "no column payment_method"),
        ("customer,payment_method\ncus_1,\n", "line 2"),
        ("", "no column customer"),
    ],
)
def test_a_file_that_is_none_sends_nothing(
    text: str, says: str, running: Running, tmp_path: Path
) -> None:
    file, results = tmp_path / "cards.csv", tmp_path / "results.csv"
    file.write_text(text)
    refused = adopt(running, file, results)
    assert (refused.returncode, says in refused.stderr) == (1, True), refused.stderr
    assert not results.exists()


def test_a_key_that_is_refused_or_would_be_seen_ends_the_run(
    running: Running, tmp_path: Path
) -> None:
    file = listed(tmp_path / "cards.csv", [("cus_1", "pm_1")])
    results, key = tmp_path / "results.csv", "sr_dev_key_" + "0" * 26 + "_" + "a" * 43
    refused = adopt(running, file, results, key=key)
    assert (refused.returncode, "refused the key" in refused.stderr) == (1, True), refused.stderr
    assert key not in refused.stderr
    assert rows(results) == []
    words = ("payment-methods", "adopt", str(file), "--results", str(results))
    clear = run(running, *words, "--url", "http://192.0.2.1", key=key)
    assert "use https" in clear.stderr


async def test_what_there_is_can_be_taken_along_by_the_gateways_own_ids(
    running: Running, api: Api, client: sdk.StripeClient, stripe: StandIn, tmp_path: Path
) -> None:
    known, token = await theirs(client)
    ada = await customer(api)
    instrument = {"gateway": "stripe", "token": token, "gateway_customer": known}
    path = f"/v1/customers/{ada}/payment_methods"
    adopted = await api.post(path, {"instrument": instrument}, wait=20)
    asked = order()
    paid = await api.pay(asked, wait=20)
    refund = await api.refund(paid.id, 100, wait=20)
    intent = (await stripe.charge_of(paid.id))["payment_intent"]
    words = ("export", "references", "--entity", running.legal_entity)
    done = await asyncio.to_thread(run, running, *words)
    assert done.returncode == 0, done.stderr
    lines = {row["id"]: row for row in csv.DictReader(io.StringIO(done.stdout))}
    assert f"{len(lines)} references" in done.stderr or len(lines) > 0
    assert lines[ada]["gateway_object"] == known
    assert (lines[adopted.id]["gateway_object"], lines[adopted.id]["belongs_to"]) == (token, ada)
    assert (lines[paid.id]["gateway_object"], lines[paid.id]["merchant_reference"]) == (
        intent, asked["merchant_reference"],
    )  # fmt: skip
    assert lines[refund.id]["belongs_to"] == paid.id
    assert lines[refund.id]["gateway_object"].startswith("re_")
    file = tmp_path / "references.ndjson"
    done = await asyncio.to_thread(run, running, *words, "--format", "ndjson", "--file", str(file))
    assert (done.returncode, done.stdout) == (0, "")
    assert file.stat().st_mode & 0o077 == 0
    found = [json.loads(line) for line in file.read_text().splitlines()]
    assert {one["id"] for one in found} >= lines.keys()
    assert len({(one["id"], one["gateway_object"]) for one in found}) == len(found)
    assert "4242" not in {part for one in found for part in one.values()}


async def test_the_references_of_one_legal_entity_are_no_others(
    running: Running, api: Api, other_api: Api
) -> None:
    theirs_paid = await other_api.pay(order(), wait=20)
    words = ("export", "references", "--entity", running.legal_entity, "--format", "ndjson")
    assert theirs_paid.id not in (await asyncio.to_thread(run, running, *words)).stdout
    unnamed = await asyncio.to_thread(run, running, "export", "references")
    assert (unnamed.returncode, "say --entity" in unnamed.stderr) == (1, True)


async def test_what_arrives_of_an_account_is_told_and_of_no_other(
    running: Running,
    ours: Account,  # noqa: F811
) -> None:
    name = ours.url.rpartition("/")[2]
    before = await asyncio.to_thread(
        run, running, "webhooks", "arrived", "--account", name, "--json"
    )
    for _ in range(2):
        assert (
            await ours.send(event({"id": "in_1", "object": "invoice"}, "shadow.of_old_code"))
        ).status == 200
    after = await asyncio.to_thread(
        run, running, "webhooks", "arrived", "--account", name, "--json"
    )
    assert after.returncode == 0
    sent = {one["kind"]: one["sent"] for one in json.loads(after.stdout)}
    assert sent["shadow.of_old_code"] == 2
    assert "shadow.of_old_code" not in before.stdout
    nobody = await asyncio.to_thread(
        run, running, "webhooks", "arrived", "--account", name, "--since", "2099-01-01T00:00:00Z"
    )
    assert nobody.returncode == 1
