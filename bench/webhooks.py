"""Webhooks in: verified, durable and answered, as many a second as the API takes."""

import subprocess
import sys
import time
from pathlib import Path

from bench.children import api, load
from bench.cluster import Deployment, Server, query
from bench.hooks import Sender
from bench.load import Plan
from bench.measures import CONNECTIONS, Lengths, Outcome
from strongroom.ids import new_id, to_text
from strongroom.local.ports import LOOPBACK


def stripe(server: Server, lengths: Lengths) -> Outcome:
    """The API alone, 256 connections, each webhook a new one; every one is on disk afterwards."""
    with server.deployment() as deployment:
        account = to_text("gwa", deployment.gateway_account)
        secret = deployment.home / "secrets" / "stripe_webhook_secret"
        return _measured(server, lengths, deployment, "stripe", account, secret)


def braintree(server: Server, lengths: Lengths) -> Outcome:
    """The same with notifications of Braintree, whose XML has to be read."""
    with server.deployment() as deployment:
        secret = deployment.home / "secrets" / "braintree_keys_of_bench"
        secret.touch(0o600)
        secret.write_text(f"bench_merchant:bench_public:{'b' * 32}")
        added = subprocess.run(
            [
                sys.executable, "-m", "strongroom", "gateway-accounts", "add",
                "--home", str(deployment.home), "--gateway", "braintree",
                "--entity", to_text("ent", deployment.legal_entity),
                "--environment", "stand_in", "--secret-file", str(secret),
                "--base-url", "http://127.0.0.1:9",
            ],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        account = added.stdout.split()[0]
        return _measured(server, lengths, deployment, "braintree", account, secret)


def _measured(
    server: Server,
    lengths: Lengths,
    deployment: Deployment,
    gateway: str,
    account: str,
    secret: Path,
) -> Outcome:
    payment = new_id(int(time.time() * 1e6), deployment.legal_entity)
    with api(deployment.home) as (serving, port):
        result = load(
            deployment.home,
            Plan(
                host=LOOPBACK,
                port=port,
                api_key_file=str(deployment.api_key_file),
                connections=CONNECTIONS,
                warm_up_seconds=lengths.warm_up_seconds,
                seconds=lengths.accept_seconds,
                webhooks=Sender(
                    path=f"/webhooks/{gateway}/{account}",
                    payment=to_text("pay", payment),
                    secret_file=str(secret),
                    gateway=gateway,
                ),
                watched={"api": [one.pid for one in serving], "postgres": [server.pid]},
            ),
        )
        statement = "SELECT count(*) FROM strongroom.webhook_events WHERE state = 'received'"
        stored = int(query(deployment.owner_url, statement)[0][0])
    wrong = [f"{result.failed} failed: {result.first_failure}"] if result.failed else []
    if stored != result.accepted:
        wrong.append(f"{result.accepted} were answered and {stored} are stored")
    details: dict[str, object] = {
        "webhooks": stored,
        "p50_ms": round(result.p50_ms, 1),
        "p99_ms": round(result.p99_ms, 1),
        "cpu_us": {name: round(used, 1) for name, used in result.cpu_us.items()},
    }
    return Outcome({f"webhook_{gateway}_rps": result.rps}, details, wrong)
