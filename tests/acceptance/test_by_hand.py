"""What operators do by the command line is in the log, each thing once, and no secret with it."""

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from strongroom.access.api_keys import SCOPES
from strongroom.cli import make_parser
from strongroom.clock import SystemClock, microseconds_since_epoch
from strongroom.ids import from_text, new_id, to_text
from tests.acceptance.clerk import Clerk
from tests.acceptance.running import Running

HOOK = "whsec_0123456789abcdef"
STRIPE_KEYS = ("sk_test_canary0123456789", "rk_test_canary9876543210")
BRAINTREE_KEYS = ("merchant", "public_canary_01", "private_canary_0123456789ab")
URL = "https://receiver.example/canary-in-the-path"


NOTED = """
entities create, gateway-accounts add, gateway-accounts pay-to, gateway-accounts refuse,
gateway-accounts publish, keys create, keys revoke, secrets set, secrets rotate, secrets retire,
ghosts ignore, ghosts watch, webhooks replay, alarms clear, vault rotate, vault reencrypt,
vault retire, vault rotate-root, vault subjects destroy, endpoints add, endpoints rotate,
endpoints retire, endpoints disable, endpoints enable, endpoints replay, endpoints remove,
log new-epoch, up
"""
"""Commands that change something of a legal entity: each leaves an event."""
READS = """
entities list, gateway-accounts currencies, keys list, secrets list, payments show, payments list,
explain, webhooks parked, webhooks arrived, alarms, ghosts list, endpoints list,
endpoints deliveries, routes check, routes test, export references, prove, verify, witness key
"""
DEPLOYMENT = """
init, migrate, api, checkout, worker, signer, signer accept-epoch, signer retire-log, witness,
vault replay, bench load
"""
"""Processes, and what is done to a whole deployment."""
BY_THE_API = "payment-methods adopt"


def words_of(text: str) -> set[str]:
    return {" ".join(one.split()) for one in text.split(",")}


def commands_of(parser: argparse.ArgumentParser, name: str = "") -> Iterator[str]:
    """Every command that can be run, in words."""
    if parser.get_default("run") is not None:
        yield name
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                yield from commands_of(below, f"{name} {word}".strip())


def test_of_every_command_it_is_said_whether_it_leaves_an_event() -> None:
    """A new one stands in one of the lists, and in a test if it is NOTED."""
    known = [words_of(text) for text in (NOTED, READS, DEPLOYMENT, BY_THE_API)]
    every = set(commands_of(make_parser()))
    assert every ^ set().union(*known) == set()
    assert len(every) == sum(map(len, known))


@pytest.fixture
async def clerk(running: Running, owner: asyncpg.Connection) -> Clerk:
    made = Clerk(running, owner)
    await made.opens("Governed Ltd")
    return made


def kept(clerk: Clerk, folder: Path, *parts: str) -> str:
    """A file with a secret, which is looked for in the log afterwards."""
    clerk.secrets += parts
    file = folder / "entered"
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as stream:
        stream.write(":".join(parts) + "\n")
    return str(file)


def stripe_key(running: Running) -> tuple[str, str]:
    """What the stand-in takes: its file, and what is in it."""
    file = running.home / "secrets/stripe_key"
    return str(file), file.read_text().strip()


async def account_of(clerk: Clerk, folder: Path, gateway: str, kind: str, *secret: str) -> str:
    said = await clerk.does(
        "gateway_account.added", None,
        "gateway-accounts", "add", "--entity", clerk.entity, "--gateway", gateway,
        "--environment", "stand_in", "--base-url", clerk.running.stripe_url,
        "--secret-file", kept(clerk, folder, *secret),
        gateway=gateway, environment="stand_in", secret=kind, secret_version=1,
    )  # fmt: skip
    return said.split()[0]


async def test_api_keys(clerk: Clerk) -> None:
    create = ("keys", "create", "--entity", clerk.entity, "--name", "Ada's laptop")
    token = await clerk.does(
        "api_key.created", None, *create, scopes=sorted(SCOPES), name="nothing"
    )
    less = ("--scope", "payments:read")
    other = await clerk.does("api_key.created", None, *create, *less, scopes=["payments:read"])
    clerk.secrets += [token, other, token.split("_", 4)[4], other.split("_", 4)[4], "Ada"]
    key = "key_" + token.split("_")[3]
    await clerk.does("api_key.revoked", key, "keys", "revoke", key)
    assert await clerk.leaves_nothing("keys", "revoke", key) == "revoked"
    key = "key_" + other.split("_")[3]
    await clerk.does("api_key.revoked", key, "keys", "revoke", key, at_once=4)
    await clerk.is_refused("scopes are", *create, "--scope", "everything")
    await clerk.is_in_the_log()


async def test_gateway_accounts(clerk: Clerk, tmp_path: Path) -> None:
    stripe = await account_of(clerk, tmp_path, "stripe", "stripe_api_key", STRIPE_KEYS[0])
    account = await account_of(clerk, tmp_path, "braintree", "braintree_keys", *BRAINTREE_KEYS)
    clerk.secrets.remove("merchant")  # a part of other words
    accounts = "gateway-accounts"
    await clerk.does(
        "gateway_account.currency_set", account, accounts, "pay-to", account, "EUR", "paid_here",
        "--three-d-secure", currency="EUR", merchant_account="paid_here", three_d_secure=True,
    )  # fmt: skip
    refuse = (accounts, "refuse", account, "EUR")
    await clerk.does("gateway_account.currency_refused", account, *refuse, currency="EUR")
    await clerk.is_refused("has no merchant account", *refuse)
    public = "pk_test_canary0123456789"
    publish = (accounts, "publish", stripe)
    await clerk.does(
        "gateway_account.key_published", stripe, *publish, public, publishable_key=public
    )
    await clerk.is_refused("another mode", *publish, "pk_live_canary0123456789")
    share = ("ghosts", "ignore", "--account", stripe, "--because", "the other shop's")
    await clerk.does("gateway_account.shared", stripe, *share, because="the other shop's")
    await clerk.does("gateway_account.watched", stripe, "ghosts", "watch", "--account", stripe)
    unknown = to_text("gwa", new_id(1, from_text("ent", clerk.entity)))
    await clerk.is_refused("no such gateway account", "ghosts", "watch", "--account", unknown)
    await clerk.is_in_the_log()


async def test_secrets(clerk: Clerk, tmp_path: Path) -> None:
    account = await account_of(clerk, tmp_path, "stripe", "stripe_api_key", STRIPE_KEYS[0])
    hook, key = "stripe_webhook_secret", "stripe_api_key"
    file = kept(clerk, tmp_path, HOOK)
    put = ("secrets", "set", account, hook, "--file", file)
    await clerk.does("gateway_account.secret_set", account, *put, secret=hook, secret_version=1)
    await clerk.is_refused("there is one already", *put)
    file = kept(clerk, tmp_path, STRIPE_KEYS[1])
    rotate = ("secrets", "rotate", account, key, "--file", file)
    await clerk.does(
        "gateway_account.secret_rotated", account, *rotate, secret=key, secret_version=2
    )
    await clerk.is_refused("are in use", *rotate)
    retire = ("secrets", "retire", account, key)
    await clerk.does(
        "gateway_account.secret_retired", account, *retire, secret=key, secret_version=1
    )
    await clerk.is_refused("it is the only one", *retire)
    await clerk.is_in_the_log()


async def test_a_replay_of_webhooks_is_noted_once(clerk: Clerk) -> None:
    key, secret = stripe_key(clerk.running)
    said = await clerk.does(
        "gateway_account.added", None, "gateway-accounts", "add", "--entity", clerk.entity,
        "--gateway", "stripe", "--environment", "stand_in", "--base-url", clerk.running.stripe_url,
        "--secret-file", key,
    )  # fmt: skip
    account = said.split()[0]
    clerk.secrets.append(secret)
    await clerk.does(
        "gateway_account.webhooks_replayed", account, "webhooks", "replay", "--account", account,
        "--since", "1h", "--no-wait",
    )  # fmt: skip
    await clerk.is_in_the_log()


async def test_keys_of_the_legal_entity_and_its_subjects(clerk: Clerk) -> None:
    entity = ("--entity", clerk.entity)
    await clerk.does(
        "encryption_key.rotated", clerk.entity, "vault", "rotate", "--no-wait", *entity,
        version=2, made=True,
    )  # fmt: skip
    await clerk.does(
        "encryption_key.reencrypted", clerk.entity, "vault", "reencrypt", *entity,
        values=0, left=0,
    )  # fmt: skip
    await clerk.is_refused("less than a day old", "vault", "retire", "--yes", *entity)
    now = microseconds_since_epoch(SystemClock().now())
    subject = to_text("sub", new_id(now, from_text("ent", clerk.entity)))
    destroy = ("vault", "subjects", "destroy", subject, "--yes")
    kind = "data_subject.destroyed"
    await clerk.does(kind, clerk.entity, *destroy, *entity, data_subject=subject, had_key=False)
    other = ("--entity", clerk.running.legal_entity)
    await clerk.is_refused("not one of this legal entity", *destroy, *other)
    await clerk.is_refused("no such legal entity", *destroy, "--entity", "ent_" + "0" * 26)
    await clerk.is_in_the_log()


async def test_endpoints(clerk: Clerk, tmp_path: Path) -> None:
    file, kind = tmp_path / "secret", "webhook_endpoint."
    add = ("endpoints", "add", URL, "--entity", clerk.entity, "--kinds", "payment.*")
    said = await clerk.does(f"{kind}created", None, *add, "--secret-file", str(file))
    endpoint = said.split()[1]
    clerk.secrets += [file.read_text().strip(), "canary-in-the-path"]

    async def does(what: str, *words: str, **details: Any) -> None:
        await clerk.does(
            kind + what, endpoint, "endpoints", words[0], endpoint, *words[1:], **details
        )

    await does("disabled", "disable", "--because", "a test", status_reason="operator")
    await does("enabled", "enable")
    await does("secret_rotated", "rotate", "--secret-file", str(file), secret_version=2)
    clerk.secrets.append(file.read_text().strip())
    await does("secret_retired", "retire", secret_version=1)
    await does("replayed", "replay", "--from", "0", first_index=0, last_index=0)
    await does("removed", "remove")
    await clerk.is_refused("no such endpoint", "endpoints", "enable", endpoint)
    await clerk.is_in_the_log()


async def test_nothing_is_done_for_a_legal_entity_that_only_shares_a_tag(clerk: Clerk) -> None:
    """The id's last 32 bits are those of one that is there."""
    stranger = to_text("ent", new_id(1, from_text("ent", clerk.entity)))
    await clerk.is_refused(
        "no such legal entity", "keys", "create", "--entity", stranger, "--name", "x"
    )
    assert await clerk.leaves_nothing("keys", "list", "--entity", stranger) == ""


async def test_what_up_makes_is_in_the_log(running: Running, owner: asyncpg.Connection) -> None:
    rows = await owner.fetch(
        "SELECT kind, payload FROM events WHERE legal_entity_id = $1 AND actor LIKE 'operator:%'",
        from_text("ent", running.legal_entity),
    )
    kinds = [row["kind"] for row in rows]
    assert kinds.count("legal_entity.created") == 1
    assert kinds.count("api_key.created") >= 1
    added = [json.loads(row["payload"]) for row in rows if row["kind"] == "gateway_account.added"]
    assert {"stripe", "braintree"} <= {one["gateway"] for one in added}
    secrets = {
        json.loads(row["payload"])["secret"]
        for row in rows if row["kind"] == "gateway_account.secret_set"
    }  # fmt: skip
    assert {"stripe_api_key", "stripe_webhook_secret", "braintree_keys"} <= secrets
