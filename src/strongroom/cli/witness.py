"""`strongroom witness`: the words of the command; what it does is loaded when it is called."""

import argparse
from pathlib import Path
from typing import Final

from strongroom.config import ConfigurationError

PORT_DEFAULT: Final = 8085


def add_witness(add, commands) -> None:  # type: ignore[no-untyped-def]
    """The commands of this module."""
    witness = add(commands, "witness", "cosign the checkpoints of logs, elsewhere", _run)
    witness.add_argument("--folder", type=Path, help="its key and its memory; made when missing")
    witness.add_argument("--name", help="in which name it signs; needed when its key is made")
    witness.add_argument(
        "--log",
        action="append",
        default=[],
        metavar="ORIGIN=FILE",
        help="a log that it knows, and its public key; or a file or a folder of public keys",
    )
    witness.add_argument("--host", default="127.0.0.1")
    witness.add_argument("--port", type=int, default=PORT_DEFAULT, help="0 picks one")
    actions = witness.add_subparsers(metavar="ACTION")
    key = add(actions, "key", "show its public key, made when missing", _key)
    key.add_argument("--folder", type=Path, required=True)
    key.add_argument("--name", help="needed when the key is made")


def _key(options: argparse.Namespace) -> int:
    from strongroom.log.witnessing import WitnessFolder

    print(WitnessFolder(options.folder).key(options.name).verifier.text())
    return 0


def _run(options: argparse.Namespace) -> int:
    import uvloop

    from strongroom.cli.witnessing import serve_witness
    from strongroom.telemetry.logs import set_up_logs

    if options.folder is None:
        raise ConfigurationError("--folder is missing: where the witness has its key and memory.")
    set_up_logs()
    uvloop.run(serve_witness(options.folder, options.name, options.log, options.host, options.port))
    return 0
