"""The list of processes to scrape, in the form that Prometheus reads from a file."""

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
