"""A merchant's server is told what happened, by a deployment as it is and its command line."""

import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.client import Api, order, until
from tests.acceptance.conftest import Merchant, new_merchant
from tests.acceptance.running import Running, environment, program
from tests.integration.receivers import Receiver, receiving


@pytest.fixture(scope="module")
def told(running: Running) -> Merchant:
    """A legal entity whose servers are told."""
    return new_merchant(running, "Told Ltd")


@pytest.fixture
async def receiver(running: Running) -> AsyncIterator[Receiver]:
    """It takes its endpoints with it: another receiver may get its port."""
    before = known(running)
    async with receiving() as one:
        yield one
        for endpoint in set(known(running)) - set(before):
            running.command("endpoints", "remove", endpoint)


def add(running: Running, merchant: Merchant, receiver: Receiver, *words: str) -> str:
    said = running.command(
        "endpoints", "add", receiver.url, "--entity", merchant.legal_entity, *words
    )
    lines = dict(line.split(maxsplit=1) for line in said.splitlines() if " " in line)
    receiver.secret = lines["secret"]
    return lines["endpoint"]


def refused(running: Running, *words: str) -> str:
    done = subprocess.run(
        [*program(*words), "--home", str(running.home)], env=environment(),
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    return done.stderr


def shown(running: Running, endpoint: str) -> dict[str, Any]:
    every = json.loads(running.command("endpoints", "list", "--json"))
    [one] = [line for line in every if line["endpoint"] == endpoint]
    found: dict[str, Any] = one
    return found


def known(running: Running) -> list[str]:
    return [line["endpoint"] for line in json.loads(running.command("endpoints", "list", "--json"))]


def about(receiver: Receiver, payment: str) -> list[dict[str, Any]]:
    return [message for message in receiver.taken if message["data"]["id"] == payment]


async def test_a_payment_and_its_refund_are_told_in_order(
    running: Running, api: Api, told: Merchant, receiver: Receiver
) -> None:
    endpoint = add(running, told, receiver)
    shop = api.with_key(told.api_key)
    paid = await shop.pay(order(amount=1999), wait=20)
    refund = await shop.post("/v1/refunds", {"payment": paid.id}, wait=20)
    assert refund.json["status"] == "succeeded", refund

    async def is_told() -> bool:
        return any("refund" in m["data"]["changed"] and m["data"]["changed"]["refund"].get("status")
                   == "succeeded" for m in about(receiver, paid.id))  # fmt: skip

    await until(is_told)
    version = (await shop.get(f"/v1/payments/{paid.id}")).json["version"]

    async def is_told_of_all() -> bool:
        return bool(len({m["data"]["sequence"] for m in about(receiver, paid.id)}) == version)

    await until(is_told_of_all)
    messages = about(receiver, paid.id)
    assert [m["data"]["sequence"] for m in messages] == list(range(1, version + 1))
    assert messages[0]["type"] == "payment.accepted"
    assert messages[0]["data"]["changed"]["amount"] == 1999
    ends = [m["data"]["changed"].get("status") for m in messages]
    assert "succeeded" in ends
    assert messages[-1]["data"]["changed"]["refund"]["id"] == refund.id
    assert "pm_card_visa" not in json.dumps(receiver.taken)

    async def is_all_told() -> bool:
        return not shown(running, endpoint)["waiting"]

    await until(is_all_told)

    index = messages[0]["data"]["log_index"]
    again = running.command("endpoints", "replay", endpoint, "--from", str(index))
    assert again.startswith("1 events")

    async def is_told_again() -> bool:
        return len(set(receiver.ids)) < len(receiver.ids)

    await until(is_told_again)

    async def is_written() -> bool:
        lines = running.command("endpoints", "deliveries", endpoint, "--limit", "1000")
        return f"{paid.id}  payment.accepted  delivered  tries 1  delivered 204" in lines

    await until(is_written)


async def test_disabled_it_is_told_nothing_and_enabled_all_that_happened(
    running: Running, api: Api, told: Merchant, receiver: Receiver
) -> None:
    endpoint = add(running, told, receiver, "--kinds", "payment.succeeded")
    shop = api.with_key(told.api_key)
    running.command("endpoints", "disable", endpoint, "--because", "a test")
    assert "disabled already" in refused(
        running, "endpoints", "disable", endpoint, "--because", "again"
    )
    paid = await shop.pay(order(), wait=20)

    async def is_in_the_log() -> bool:
        return bool(shown(running, endpoint)["unread"])

    await until(is_in_the_log)
    assert receiver.tried == []
    assert (shown(running, endpoint)["state"], shown(running, endpoint)["because"]) == (
        "disabled", "a test",
    )  # fmt: skip
    running.command("endpoints", "enable", endpoint)

    async def is_told() -> bool:
        return bool(about(receiver, paid.id))

    await until(is_told)
    assert {m["type"] for m in receiver.taken} == {"payment.succeeded"}
    running.command("endpoints", "remove", endpoint)
    assert endpoint not in running.command("endpoints", "list")
    assert "no such endpoint" in refused(running, "endpoints", "enable", endpoint)


async def test_what_operators_do_is_told_by_the_ids_of_what_it_was_done_to(
    running: Running, told: Merchant, receiver: Receiver
) -> None:
    entity = ("--entity", told.legal_entity)
    add(running, told, receiver, "--kinds", "api_key.*,gateway_account.*,encryption_key.*")
    token = running.command("keys", "create", *entity, "--name", "told")
    running.command("vault", "reencrypt", *entity)
    account = running.command(
        "gateway-accounts", "add", *entity, "--gateway", "stripe", "--environment", "stand_in",
        "--base-url", running.stripe_url, "--secret-file", str(running.home / "secrets/stripe_key"),
    )  # fmt: skip

    wanted = {
        ("api_key.created", "key_" + token.split("_")[3], 1),
        ("encryption_key.reencrypted", told.legal_entity, 2),
        ("gateway_account.added", account, 1),
    }

    async def is_told() -> bool:
        found = {(m["type"], m["data"]["id"], m["data"]["sequence"]) for m in receiver.taken}
        return wanted <= found

    await until(is_told)
    assert token not in json.dumps(receiver.taken)


async def test_a_secret_is_rotated_while_payments_run(
    running: Running, api: Api, told: Merchant, receiver: Receiver, tmp_path: Any
) -> None:
    endpoint = add(running, told, receiver, "--kinds", "payment.accepted")
    shop, old, file = api.with_key(told.api_key), receiver.secret, tmp_path / "secret"
    assert "only one" in refused(running, "endpoints", "retire", endpoint)
    said = running.command("endpoints", "rotate", endpoint, "--secret-file", str(file))
    new = file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
    assert new not in said
    assert (new == old, new.startswith("whsec_")) == (False, True)
    for secret in (old, new):
        receiver.secret = secret
        paid = await shop.pay(order(), wait=20)

        async def is_told(payment: str = paid.id) -> bool:
            return bool(about(receiver, payment))

        await until(is_told)
    running.command("endpoints", "retire", endpoint)
    listed = running.command("secrets", "list")
    assert f"{endpoint}  webhook_signing_secret  version 2" in listed
    assert old not in listed + "".join(running.log_texts().values())
    wrong = refused(running, "secrets", "retire", endpoint, "webhook_signing_secret")
    assert "made and ended by `strongroom endpoints`" in wrong


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "url",
    ["https://10.0.0.1/", "http://shop.example/", "https://user@shop.example/", "ftp://a.example/",
     "https://169.254.169.254/latest/meta-data", "https://[64:ff9b::7f00:1]/", "https://"],
)  # fmt: skip
def test_what_is_never_sent_to_cannot_be_added(running: Running, told: Merchant, url: str) -> None:
    before = known(running)
    said = refused(running, "endpoints", "add", url, "--entity", told.legal_entity)
    assert "nothing is sent to such an address" in said
    assert known(running) == before


def test_an_address_with_a_token_is_read_from_a_file(
    running: Running, told: Merchant, tmp_path: Path
) -> None:
    """As an argument everybody on the machine would see it."""
    token, file = "t0ken-of-a-receiver", tmp_path / "url"
    file.write_text(f"https://hooks.example/{token}\n")
    words = ("endpoints", "add", "--entity", told.legal_entity, "--url-file", str(file))
    file.chmod(0o644)
    said = refused(running, *words)
    assert "can be read by others" in said
    file.chmod(0o600)
    assert "or a file that has it" in refused(running, *words, "https://hooks.example/")
    made = dict(line.split(maxsplit=1) for line in running.command(*words).splitlines()[:1])
    try:
        one = shown(running, made["endpoint"])
        assert one["host"] == "hooks.example"
        assert token not in said + running.command("endpoints", "list")
    finally:
        running.command("endpoints", "remove", made["endpoint"])
    file.write_text("https://10.0.0.1/" + token)
    said = refused(running, *words)
    assert "nothing is sent to such an address" in said
    assert token not in said


def test_without_an_address_somebody_is_asked(running: Running, told: Merchant) -> None:
    said = refused(running, "endpoints", "add", "--entity", told.legal_entity)
    assert "nobody is there to type it: give a file by --url-file" in said


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--kinds", "payment"), "a kind of events is written as"),
        (("--kinds", "payment.*,Refund.x"), "a kind of events is written as"),
        (("--from-index", "-1"), "0 or more"),
        (("--entity", "ent_00000000000000000000000000"), "no such legal entity"),
    ],
)
def test_other_mistakes_are_told(
    running: Running, told: Merchant, words: tuple[str, ...], why: str
) -> None:
    assert why in refused(
        running,
        "endpoints",
        "add",
        "https://shop.example/hooks",
        "--entity",
        told.legal_entity,
        *words,
    )
