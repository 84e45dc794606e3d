"""The words of the commands of the log; what they do is loaded when one is called."""

import argparse
from pathlib import Path

from strongroom.cli.processes import run_signer


def add_log(add, commands, group) -> None:  # type: ignore[no-untyped-def]
    """The commands of this module."""
    _add_epochs(add, commands, group)
    verify = add(
        commands, "verify", "check a copy of a log, or a proof, without a network", _verify
    )
    what = verify.add_mutually_exclusive_group(required=True)
    what.add_argument("--log", type=Path, metavar="FOLDER", help="the copy: tiles and checkpoint")
    what.add_argument("--proof", type=Path, metavar="FILE", help="of one entry, or of `prove`")
    what.add_argument("--bundle", type=Path, metavar="FILE", help="of `explain --bundle`")
    what.add_argument(
        "--rows", action="store_true", help="the log of this home, and whether its rows agree"
    )
    verify.add_argument("--key", type=Path, metavar="FILE", help="public key: NAME+ID+BASE64")
    verify.add_argument("--entity", metavar="ID", help="of --rows, where there are several")
    verify.add_argument(
        "--older",
        type=Path,
        metavar="FILE",
        action="append",
        default=[],
        help="a checkpoint kept elsewhere, which the log must begin with; may be repeated",
    )
    verify.add_argument(
        "--witness",
        type=Path,
        metavar="FILE",
        action="append",
        default=[],
        help="public key of a witness that must have cosigned it; may be repeated",
    )
    verify.add_argument("--entry", type=Path, metavar="FILE", help="the entry, its very bytes")

    prove = add(commands, "prove", "all that the log says of one payment, as a proof", _prove)
    prove.add_argument("id")
    prove.add_argument("--key", type=Path, metavar="FILE", help="default: that of the log's folder")
    prove.add_argument("--out", type=Path, metavar="FILE", help="default: ID.proof.json")


def _add_epochs(add, commands, group) -> None:  # type: ignore[no-untyped-def]
    signer = add(commands, "signer", "sign the logs, with a key of its own", run_signer)
    signer.add_argument(
        "--metrics-port", type=int, help="serve metrics here, on loopback (default: not at all)"
    )
    actions = signer.add_subparsers(metavar="ACTION")
    accept = add(actions, "accept-epoch", "begin what the database's owner opened", _accept_epoch)
    accept.add_argument("--entity", required=True, metavar="ID")
    accept.add_argument("--epoch", required=True, type=int, metavar="N")
    accept.add_argument("--yes", action="store_true", help="do not ask first")
    retire = add(actions, "retire-log", "give up a log that the database has lost", _retire_log)
    retire.add_argument("--entity", required=True, metavar="ID")
    retire.add_argument("--because", required=True, help="why; it stays in the signer's memory")
    retire.add_argument("--yes", action="store_true", help="do not ask first")
    logs = group("log", "the logs, after a restore")
    new = add(logs, "new-epoch", "go on after a restore, and say in the log what it lost", _epoch)
    new.add_argument("--because", required=True, help="why; it stays in the log")
    new.add_argument("--entity", metavar="ID", help="open one for it, though nothing was lost")
    new.add_argument(
        "--logs", type=Path, metavar="FOLDER", help="what was signed (default: that of --home)"
    )


def _epoch(options: argparse.Namespace) -> int:
    from strongroom.cli.epochs import new_epoch

    return new_epoch(options)


def _accept_epoch(options: argparse.Namespace) -> int:
    from strongroom.cli.epochs import accept_epoch

    return accept_epoch(options)


def _retire_log(options: argparse.Namespace) -> int:
    from strongroom.cli.epochs import retire_log

    return retire_log(options)


def _prove(options: argparse.Namespace) -> int:
    from strongroom.cli.proving import prove

    return prove(options)


def _verify(options: argparse.Namespace) -> int:
    from strongroom.cli.verifying import verify

    return verify(options)
