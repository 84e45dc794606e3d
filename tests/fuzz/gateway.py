"""A gateway that fails now and then."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.acceptance.running import Running

SELDOM: Final = 0.02
FAULTS: Final = [
    *(
        {"fault": fault, "match": {"probability": SELDOM}}
        for fault in ("drop_after", "error_500_before", "error_500_after", "error_429")
    ),
    {
        "fault": "wrong_amount",
        "match": {"operation": "payment_intents.confirm", "probability": SELDOM},
    },
]
"""What the gateway does now and then."""


@contextmanager
def faulty_gateway(running: Running) -> Iterator[None]:
    """For a while the stand-in fails now and then."""
    _set_knobs(running, {"rules": FAULTS})
    try:
        yield
    finally:
        _set_knobs(running, {"rules": []})


def _set_knobs(running: Running, knobs: dict[str, object]) -> None:
    request = urllib.request.Request(
        f"{running.stripe_url}/_knobs",
        data=json.dumps(knobs).encode(),
        headers={"X-Knob-Token": running.knob_token},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=10):
        pass
