"""The `strongroom` command."""

import argparse
import asyncio
import os
import resource
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from strongroom.cli.endpoints import add_endpoints
from strongroom.cli.log import add_log
from strongroom.cli.moving import add_moving
from strongroom.cli.processes import run_api, run_checkout, run_worker
from strongroom.cli.routes import add_routes
from strongroom.cli.vault import add_vault
from strongroom.cli.witness import add_witness
from strongroom.config import ConfigurationError, Home

HOME_DEFAULT: Final = ".strongroom"
PORT_DEFAULT: Final = 8080
CHECKOUT_PORT_DEFAULT: Final = 8083


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0 done, 1 not possible, 2 wrong usage."""
    # Memory holds unwrapped keys, that of children too: nobody finds it in a core dump.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    parser = make_parser()
    options = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except ConfigurationError as error:
        print(f"strongroom: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"strongroom: {error.strerror or error}", file=sys.stderr)
        return 1


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="strongroom", description="A payments backend that is secure by design."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        group: "argparse._SubParsersAction[argparse.ArgumentParser]",
        name: str,
        text: str,
        run: Callable[[argparse.Namespace], int],
    ) -> argparse.ArgumentParser:
        command = group.add_parser(name, help=text, description=text)
        command.add_argument(
            "--home",
            type=Path,
            default=Path(os.environ.get("STRONGROOM_HOME", HOME_DEFAULT)),
            help=f"the deployment's directory (default {HOME_DEFAULT})",
        )
        command.set_defaults(run=run)
        return command

    def group(name: str, text: str) -> "argparse._SubParsersAction[argparse.ArgumentParser]":
        parent = commands.add_parser(name, help=text, description=text)
        return parent.add_subparsers(required=True, metavar="ACTION")

    _add_processes(add, commands)
    _add_directory(add, group)
    _add_secrets(add, group)
    _add_payments(add, commands, group)
    add_vault(add, group)
    add_routes(add, group)
    _add_webhooks(add, group)
    add_endpoints(add, group)
    add_moving(add, group)
    _add_alarms(add, commands)
    _add_ghosts(add, group)
    _add_load(add, group)
    add_log(add, commands, group)
    add_witness(add, commands)
    return parser


def _add_processes(add, commands) -> None:  # type: ignore[no-untyped-def]
    up = add(commands, "up", "start everything on this machine, for development", _up)
    up.add_argument("--port", type=int, default=PORT_DEFAULT, help="the API's port; 0 picks one")
    up.add_argument("--database-url", help="use this PostgreSQL instead of the embedded one")
    init = add(commands, "init", "prepare a database and a home directory", _init)
    init.add_argument("--database-url-file", type=Path, required=True, help="owner's URL, 0600")
    init.add_argument(
        "--keys-database-url-file",
        type=Path,
        help="owner's URL of the database of keys, 0600, on another server (dev: beside it)",
    )
    init.add_argument("--mode", choices=("dev", "live"), required=True)
    init.add_argument("--origin", required=True, help="name of the log, e.g. example.com/payments")
    init.add_argument("--api-url", default=f"http://127.0.0.1:{PORT_DEFAULT}")
    migrate = add(
        commands, "migrate", "bring the database up to date while an older version serves", _migrate
    )
    only = migrate.add_mutually_exclusive_group()
    only.add_argument("--check", action="store_true", help="only say what there is to do")
    only.add_argument(
        "--finish",
        action="store_true",
        help="take away what older versions use, once all processes run this one",
    )
    api = add(commands, "api", "run the API", run_api)
    api.add_argument("--host", default="127.0.0.1")
    api.add_argument("--port", type=int, default=PORT_DEFAULT)
    checkout = add(commands, "checkout", "serve the page for customers", run_checkout)
    checkout.add_argument("--host", default="127.0.0.1")
    checkout.add_argument("--port", type=int, default=CHECKOUT_PORT_DEFAULT)
    worker = add(commands, "worker", "run a worker", run_worker)
    for process in (api, checkout, worker):
        process.add_argument(
            "--metrics-port", type=int, help="serve metrics here, on loopback (default: not at all)"
        )


def _add_directory(add, group) -> None:  # type: ignore[no-untyped-def]
    entities = group("entities", "legal entities")
    create = add(entities, "create", "create a legal entity", _call("entities_create"))
    create.add_argument("name")
    add(entities, "list", "list legal entities", _call("entities_list"))
    accounts = group("gateway-accounts", "credentials at gateways")
    account = add(accounts, "add", "add an account", _call("gateway_accounts_add"))
    account.add_argument("--entity", required=True)
    account.add_argument("--gateway", choices=("stripe", "braintree"), required=True)
    account.add_argument("--environment", choices=("stand_in", "sandbox", "live"), required=True)
    account.add_argument(
        "--secret-file", type=Path, required=True, help="secret key, 0600, to read once"
    )
    account.add_argument("--base-url", help="address of a stand-in")
    pay_to = add(accounts, "pay-to", "say where a currency is paid to", _merchant("pay_to"))
    refuse = add(accounts, "refuse", "take a currency no more", _merchant("refuse"))
    for command in (pay_to, refuse):
        command.add_argument("account", metavar="ACCOUNT", help="the gateway account, gwa_…")
        command.add_argument("currency", metavar="CURRENCY", help="as EUR")
    pay_to.add_argument("merchant_account", metavar="MERCHANT_ACCOUNT")
    pay_to.add_argument(
        "--three-d-secure", action="store_true", help="nothing without authentication"
    )
    paid = add(accounts, "currencies", "list where currencies are paid to", _merchant("currencies"))
    paid.add_argument("--entity", required=True)
    publish = add(
        accounts,
        "publish",
        "name the key that browsers show the gateway",
        _call("gateway_accounts_publish"),
    )
    publish.add_argument("account", metavar="ACCOUNT")
    publish.add_argument("key", metavar="KEY", help="pk_test_… or pk_live_…; it is no secret")
    keys = group("keys", "API keys")
    key = add(keys, "create", "create a key and show it, once", _call("keys_create"))
    key.add_argument("--entity", required=True)
    key.add_argument("--name", required=True)
    key.add_argument("--scope", action="append", help="may be repeated (default: all)")
    listing = add(keys, "list", "list keys", _call("keys_list"))
    listing.add_argument("--entity", required=True)
    revoke = add(keys, "revoke", "revoke a key, for good", _call("keys_revoke"))
    revoke.add_argument("id")


def _add_secrets(add, group) -> None:  # type: ignore[no-untyped-def]
    secrets = group("secrets", "secrets in the vault")
    listing = add(secrets, "list", "list secrets, never what they are", _secrets("secrets_list"))
    listing.add_argument("--due", action="store_true", help="those due soon; exits 1 if any is")
    listing.add_argument("--json", action="store_true", help="as JSON")
    for name, text in (
        ("set", "enter the first version of a secret"),
        ("rotate", "enter a version beside the one in use"),
        ("retire", "end a version, for good"),
    ):
        command = add(secrets, name, text, _secrets(f"secrets_{name}"))
        command.add_argument("owner", metavar="ACCOUNT", help="the gateway account, gwa_…")
        command.add_argument("kind", metavar="KIND", help="stripe_api_key, braintree_keys, …")
        if name == "retire":
            command.add_argument("--version", type=int, help="default: the oldest in use")
            command.add_argument("--force", action="store_true", help="the last one, too")
        else:
            command.add_argument("argument", nargs="*", help=argparse.SUPPRESS)
            command.add_argument("--file", type=Path, help="read it from here, 0600, not a prompt")


def _add_payments(add, commands, group) -> None:  # type: ignore[no-untyped-def]
    payments = group("payments", "payments")
    show = add(payments, "show", "show one payment", _call("payments_show"))
    show.add_argument("id")
    listing = add(payments, "list", "list payments, newest first", _call("payments_list"))
    listing.add_argument("--entity", help="default: the only one")
    listing.add_argument("--status")
    listing.add_argument("--limit", type=int, default=20)
    explain = add(
        commands, "explain", "everything known about a payment, in order", _call("explain")
    )
    explain.add_argument("id")
    explain.add_argument(
        "--bundle", type=Path, metavar="FILE", help="write it there, with the log's signature"
    )


def _add_webhooks(add, group) -> None:  # type: ignore[no-untyped-def]
    webhooks = group("webhooks", "what gateways told of")
    parked = add(
        webhooks, "parked", "list those that nobody could match", _webhooks("webhooks_parked")
    )
    parked.add_argument("--limit", type=int, default=50, help="default 50, at most 1000")
    parked.add_argument("--json", action="store_true", help="as JSON")
    arrived = add(
        webhooks, "arrived", "what an account told, by kind", _webhooks("webhooks_arrived")
    )
    arrived.add_argument("--account", required=True, help="the gateway account, gwa_…")
    arrived.add_argument("--since", default="1d", help="a time with its zone, or 3d, 12h, 30m")
    arrived.add_argument("--json", action="store_true", help="as JSON")
    replay = add(
        webhooks, "replay", "go through the gateway's list of events", _webhooks("webhooks_replay")
    )
    replay.add_argument("--account", required=True, help="the gateway account, gwa_…")
    replay.add_argument("--since", required=True, help="a time with its zone, or 3d, 12h, 30m")
    replay.add_argument("--no-wait", action="store_true", help="leave it to the worker")


def _add_alarms(add, commands) -> None:  # type: ignore[no-untyped-def]
    show = add(commands, "alarms", "what needs a person now", _alarms("alarms_show"))
    show.add_argument("--limit", type=int, default=50, help="of each kind; at most 1000")
    show.add_argument("--json", action="store_true", help="as JSON")
    show.add_argument("--check", action="store_true", help="exit 1 if there is anything")
    actions = show.add_subparsers(metavar="ACTION")
    clear = add(actions, "clear", "end one that you have seen to", _alarms("alarms_clear"))
    clear.add_argument("id", help="alm_…")
    clear.add_argument("--because", required=True, help="why; it stays in the log")


def _add_ghosts(add, group) -> None:  # type: ignore[no-untyped-def]
    ghosts = group("ghosts", "charges at a gateway that we do not know")
    listing = add(ghosts, "list", "list them, newest first", _ghosts("ghosts_list"))
    listing.add_argument("--limit", type=int, default=50, help="default 50, at most 1000")
    listing.add_argument("--json", action="store_true", help="as JSON")
    ignore = add(
        ghosts, "ignore", "account for one, or for all without our mark", _ghosts("ghosts_ignore")
    )
    ignore.add_argument("alarm", nargs="?", help="alm_…, of one charge")
    ignore.add_argument("--account", help="gwa_…: another system shares it, as long as this stands")
    ignore.add_argument("--because", required=True, help="why; it stays in the log")
    watch = add(ghosts, "watch", "no other system shares an account", _ghosts("ghosts_watch"))
    watch.add_argument("--account", required=True, help="gwa_…")


def _ghosts(name: str) -> Callable[[argparse.Namespace], int]:
    """A command of cli.ghosts, loaded when it is called."""

    def run(options: argparse.Namespace) -> int:
        from strongroom.cli import ghosts

        command: Callable[[argparse.Namespace], int] = getattr(ghosts, name)
        return command(options)

    return run


def _alarms(name: str) -> Callable[[argparse.Namespace], int]:
    """A command of cli.alarms, loaded when it is called."""

    def run(options: argparse.Namespace) -> int:
        from strongroom.cli import alarms

        command: Callable[[argparse.Namespace], int] = getattr(alarms, name)
        return command(options)

    return run


def _webhooks(name: str) -> Callable[[argparse.Namespace], int]:
    """A command of cli.webhooks, loaded when it is called."""

    def run(options: argparse.Namespace) -> int:
        from strongroom.cli import webhooks

        command: Callable[[argparse.Namespace], int] = getattr(webhooks, name)
        return command(options)

    return run


def _add_load(add, group) -> None:  # type: ignore[no-untyped-def]
    bench = group("bench", "how much a deployment bears")
    load = add(bench, "load", "play many callers of a development deployment", _bench_load)
    load.add_argument("--url", help="http(s)://HOST[:PORT] (default: that of --home)")
    load.add_argument(
        "--key-file",
        type=Path,
        help="API key, 0600 (default: STRONGROOM_API_KEY, or the development key of --home)",
    )
    load.add_argument("--clients", type=int, default=64, help="requests at once (default 64)")
    load.add_argument("--rate", type=float, help="payments/s (default: as many as are answered)")
    load.add_argument("--bulk", type=int, metavar="N", help="N payments a request, 1 to 500")
    load.add_argument("--seconds", type=float, default=10.0, help="default 10, at most 3600")
    load.add_argument("--payments", type=int, default=1_000_000, help="at most (default 1,000,000)")
    load.add_argument("--no-instrument", action="store_true", help="payments that charge nobody")
    load.add_argument(
        "--i-own-this-deployment",
        action="store_true",
        help="needed for a deployment that is not on this machine",
    )


def _bench_load(options: argparse.Namespace) -> int:
    from strongroom.cli.load import bench_load

    return bench_load(options)


def _up(options: argparse.Namespace) -> int:
    from strongroom.local.up import UpOptions, up

    return up(UpOptions(home=options.home, port=options.port, database_url=options.database_url))


def _init(options: argparse.Namespace) -> int:
    from strongroom.config import Settings
    from strongroom.setup import initialise

    home = Home(options.home)
    url = _read_secret_file(options.database_url_file)
    keys_file = options.keys_database_url_file
    keys_url = None if keys_file is None else _read_secret_file(keys_file)
    applied = asyncio.run(
        initialise(home, url, options.mode, options.origin, keys_owner_url=keys_url)
    )
    home.write_settings(Settings(mode=options.mode, api_url=options.api_url))
    print(f"{options.home} is ready in mode {options.mode}; migrations applied: {len(applied)}")
    return 0


def _migrate(options: argparse.Namespace) -> int:
    from strongroom.setup import outstanding, upgrade

    home = Home(options.home)
    if options.check:
        waiting = asyncio.run(outstanding(home))
        print("\n".join(waiting) or "the database is up to date")
        return 1 if waiting else 0
    applied = asyncio.run(upgrade(home, finish=options.finish, tell=print))
    print(f"migrations applied: {len(applied)}")
    return 0


def _call(name: str) -> Callable[[argparse.Namespace], int]:
    """A command of strongroom.commands, loaded when it is called."""

    def run(options: argparse.Namespace) -> int:
        from strongroom.cli import commands

        command: Callable[[argparse.Namespace], int] = getattr(commands, name)
        return command(options)

    return run


def _merchant(name: str) -> Callable[[argparse.Namespace], int]:
    """A command of cli.merchant_accounts, loaded when it is called."""

    def run(options: argparse.Namespace) -> int:
        from strongroom.cli import merchant_accounts

        command: Callable[[argparse.Namespace], int] = getattr(merchant_accounts, name)
        return command(options)

    return run


def _secrets(name: str) -> Callable[[argparse.Namespace], int]:
    """A command of cli.secrets, loaded when it is called."""

    def run(options: argparse.Namespace) -> int:
        from strongroom.cli import secrets

        command: Callable[[argparse.Namespace], int] = getattr(secrets, name)
        return command(options)

    return run


def _read_secret_file(file: Path) -> str:
    """A secret's text. Raises ConfigurationError when others can read the file."""
    if file.stat().st_mode & 0o077:
        raise ConfigurationError(f"{file} can be read by others: run `chmod 600 {file}`.")
    return file.read_text("utf-8").strip()
