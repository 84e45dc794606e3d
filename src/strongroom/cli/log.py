"""`strongroom verify`: the words of the command; what it does is loaded when it is called."""

import argparse
from pathlib import Path


def add_log(add, commands) -> None:  # type: ignore[no-untyped-def]
    """The commands of this module."""
    verify = add(
        commands, "verify", "check a copy of a log, or a proof, without a network", _verify
    )
    what = verify.add_mutually_exclusive_group(required=True)
    what.add_argument("--log", type=Path, metavar="FOLDER", help="the copy: tiles and checkpoint")
    what.add_argument("--proof", type=Path, metavar="FILE", help="of one entry, or of `prove`")
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
        help="public key of a witness that must have cosigned the log; may be repeated",
    )
    verify.add_argument("--entry", type=Path, metavar="FILE", help="the entry, its very bytes")

    prove = add(commands, "prove", "all that the log says of one payment, as a proof", _prove)
    prove.add_argument("id")
    prove.add_argument("--key", type=Path, metavar="FILE", help="default: that of the log's folder")
    prove.add_argument("--out", type=Path, metavar="FILE", help="default: ID.proof.json")


def _prove(options: argparse.Namespace) -> int:
    from strongroom.cli.proving import prove

    return prove(options)


def _verify(options: argparse.Namespace) -> int:
    from strongroom.cli.verifying import verify

    return verify(options)
