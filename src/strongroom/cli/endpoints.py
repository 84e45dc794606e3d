"""`strongroom endpoints`: the words of the commands; what they do is loaded when one is called."""

import argparse
from collections.abc import Callable
from pathlib import Path


def add_endpoints(add, group) -> None:  # type: ignore[no-untyped-def]
    """The commands of this module."""
    endpoints = group("endpoints", "where your servers are told what happened")
    new = add(endpoints, "add", "add an address, and show its secret, once", _telling("add"))
    new.add_argument(
        "url", nargs="?", metavar="URL", help="https://… (default: you are asked for it)"
    )
    new.add_argument(
        "--url-file", type=Path, metavar="FILE", help="read the address from here, 0600"
    )
    new.add_argument("--entity", help="default: the only one")
    new.add_argument("--kinds", default="", help="as payment.succeeded,refund.* (default: all)")
    new.add_argument(
        "--from-index", type=int, metavar="N", help="index in the log (default: from now on)"
    )
    listing = add(endpoints, "list", "list them, and how they do", _telling("list"))
    rotate = add(
        endpoints, "rotate", "show another secret, once; both sign from now on", _telling("rotate")
    )
    for command in (new, rotate):
        command.add_argument(
            "--secret-file", type=Path, metavar="FILE", help="write the secret here, 0600"
        )
    retire = add(endpoints, "retire", "end the older of two secrets", _telling("retire"))
    retire.add_argument("--version", type=int, help="default: the older one")
    disable = add(endpoints, "disable", "tell it nothing until it is enabled", _telling("disable"))
    disable.add_argument("--because", required=True, help="why; it is shown")
    enable = add(endpoints, "enable", "go on where it was disabled", _telling("enable"))
    replay = add(endpoints, "replay", "tell entries of the log once more", _telling("replay"))
    replay.add_argument("--from", dest="first", type=int, required=True, metavar="INDEX")
    replay.add_argument("--to", dest="last", type=int, metavar="INDEX", help="default: that one")
    deliveries = add(endpoints, "deliveries", "what it was told, newest first", _telling("show"))
    deliveries.add_argument("--state", choices=("waiting", "delivered", "given_up"))
    deliveries.add_argument("--limit", type=int, default=50, help="default 50, at most 1000")
    remove = add(endpoints, "remove", "forget it, and what it was told", _telling("remove"))
    for command in (rotate, retire, disable, enable, replay, deliveries, remove):
        command.add_argument("endpoint", metavar="ENDPOINT", help="whe_…")
    for command in (listing, deliveries):
        command.add_argument("--json", action="store_true", help="as JSON")


def _telling(name: str) -> Callable[[argparse.Namespace], int]:
    """A command of cli.telling, loaded when it is called."""

    def run(options: argparse.Namespace) -> int:
        from strongroom.cli import telling

        command: Callable[[argparse.Namespace], int] = getattr(telling, f"endpoints_{name}")
        return command(options)

    return run
