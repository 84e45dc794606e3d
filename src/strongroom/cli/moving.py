"""What brings a merchant here and away again: the words of the commands, loaded when called."""

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path


def add_moving(add, group) -> None:  # type: ignore[no-untyped-def]
    """The commands of this module."""
    methods = group("payment-methods", "saved instruments of customers")
    adopt = add(
        methods, "adopt", "adopt the cards of a file", _run("adopting", "payment_methods_adopt")
    )
    adopt.add_argument("file", type=Path, metavar="FILE", help="CSV: customer,payment_method")
    adopt.add_argument(
        "--results", type=Path, required=True, help="CSV that is added to; what it has is done"
    )
    adopt.add_argument("--account", help="gwa_…, of several at Stripe (default: the oldest)")
    adopt.add_argument("--at-once", type=int, default=8, help="cards at once (default 8)")
    adopt.add_argument("--url", help="http(s)://HOST[:PORT] (default: that of --home)")
    adopt.add_argument(
        "--key-file",
        type=Path,
        help="API key, 0600 (default: STRONGROOM_API_KEY, or the development key of --home)",
    )
    export = group("export", "what there is, for other programs")
    references = add(
        export,
        "references",
        "our ids and those of gateways",
        _run("export", "export_references"),
    )
    references.add_argument("--entity", help="default: the only one")
    references.add_argument("--format", choices=("csv", "ndjson"), default="csv")
    references.add_argument("--file", type=Path, help="write it there, 0600 (default: as output)")


def _run(module: str, name: str) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        command: Callable[[argparse.Namespace], int] = getattr(
            import_module(f"strongroom.cli.{module}"), name
        )
        return command(options)

    return run
