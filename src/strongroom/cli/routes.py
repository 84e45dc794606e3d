"""`strongroom routes`: the words of its commands; what they do is loaded when it is called."""

import argparse
from collections.abc import Callable


def add_routes(add, group) -> None:  # type: ignore[no-untyped-def]
    """The commands of this module."""
    routes = group("routes", "which account takes which payment")
    add(routes, "check", "check HOME/routes.toml", _run("routes_check"))
    test = add(routes, "test", "show where a payment would go, and why", _run("routes_test"))
    test.add_argument("--amount", type=int, required=True, help="in the currency's minor unit")
    test.add_argument("--currency", required=True)
    test.add_argument("--country", help="where the customer is, as DE")
    test.add_argument("--capture", choices=("automatic", "manual"), default="automatic")
    test.add_argument("--off-session", action="store_true", help="the customer is absent")
    test.add_argument("--saves", action="store_true", help="its instrument is kept")
    test.add_argument("--gateway", help="of the instrument; without it there is none yet")
    test.add_argument("--entity", help="the legal entity (default: the only one)")
    test.add_argument("--json", action="store_true", help="as JSON")


def _run(name: str) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        from strongroom.cli import routing

        command: Callable[[argparse.Namespace], int] = getattr(routing, name)
        return command(options)

    return run
