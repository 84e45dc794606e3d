"""``python -m strongroom_sandbox.stripe``: run the stand-in until SIGTERM or SIGINT."""

import argparse
import sys
from pathlib import Path

from strongroom_sandbox.running import run
from strongroom_sandbox.stripe.server import Settings, StandIn
from strongroom_sandbox.tokens import KeyFile, read_token


def settings_of(arguments: list[str]) -> Settings:
    """Read the command line. Raises TokenFileRefused."""
    parser = argparse.ArgumentParser(prog="strongroom_sandbox.stripe", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, required=True, help="0 for any free port")
    parser.add_argument("--data", type=Path, required=True, help="folder of the ledger")
    parser.add_argument(
        "--secret-key-file", type=Path, required=True, help="sk_test_…, one a line, at most two"
    )
    parser.add_argument("--knob-token-file", type=Path, required=True)
    parser.add_argument("--public-url", help="where a browser finds this server")
    parser.add_argument(
        "--webhooks-file", type=Path, help="JSON: where events are sent, and what signs them"
    )
    parser.add_argument(
        "--publishable-key-file", type=Path, help="pk_test_…; with it, the browser script is served"
    )
    given = parser.parse_args(arguments)
    public_file = given.publishable_key_file
    return Settings(
        host=given.host,
        port=given.port,
        data=given.data,
        secret_keys=KeyFile(given.secret_key_file, prefix="sk_test_"),
        knob_token=read_token(given.knob_token_file),
        public_url=given.public_url,
        webhooks_file=given.webhooks_file,
        publishable_key=None if public_file is None else read_token(public_file, "pk_test_"),
    )


def main() -> int:
    """Run and return the exit code."""
    return run(settings_of, StandIn)


if __name__ == "__main__":
    sys.exit(main())
