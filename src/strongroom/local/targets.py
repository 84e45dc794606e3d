"""Lists that others read from a file: what Prometheus scrapes, where webhooks are sent."""

import json
from collections.abc import Mapping
from pathlib import Path

from strongroom.local.home import write_atomically
from strongroom.local.ports import LOOPBACK


def targets_file(home: Path) -> Path:
    """HOME/run/metrics.json, for `file_sd_configs` of Prometheus, which notices when it changes."""
    return home / "run" / "metrics.json"


def write_targets(home: Path, ports: Mapping[str, int]) -> None:
    """Lists 127.0.0.1:port of each process, with its name as a label."""
    targets = [
        {"targets": [f"{LOOPBACK}:{port}"], "labels": {"process": name}}
        for name, port in ports.items()
    ]
    write_atomically(targets_file(home), json.dumps(targets, indent=2) + "\n", mode=0o644)


WEBHOOK_EVENTS = (
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "payment_intent.processing",
    "payment_intent.amount_capturable_updated",
    "charge.captured",
    "charge.expired",
    "refund.*",
    "charge.dispute.*",
    "payout.*",
    "setup_intent.succeeded",
    "setup_intent.setup_failed",
    "setup_intent.canceled",
    "payment_method.automatically_updated",
    "payment_method.updated",
    "payment_method.detached",
)
"""What docs/webhooks-in.md says to register: `charge.succeeded` tells nothing that its intent does
not tell, and would come with each payment."""


def write_webhooks(file: Path, url: str, secret_file: Path | None) -> None:
    """Tells a stand-in where its webhooks go; Stripe's also which file has their secret.

    Braintree signs with the API keys, and tells of everything.
    """
    endpoint: dict[str, object] = {"url": url}
    if secret_file is not None:
        endpoint |= {
            "secret_file": str(secret_file.absolute()),
            "enabled_events": WEBHOOK_EVENTS,
        }
    write_atomically(file, json.dumps({"endpoints": [endpoint]}, indent=2) + "\n")
