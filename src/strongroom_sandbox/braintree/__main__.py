"""``python -m strongroom_sandbox.braintree``: run the stand-in until SIGTERM or SIGINT."""

import argparse
import re
import sys
from pathlib import Path

from strongroom_sandbox.braintree.credentials import Credentials
from strongroom_sandbox.braintree.server import Settings, StandIn
from strongroom_sandbox.running import run
from strongroom_sandbox.tokens import read_token

ACCOUNTS = ("standin_usd=USD", "standin_eur=EUR")
ACCOUNT = re.compile(r"([A-Za-z0-9_-]{1,32})=([A-Z]{3})")


def account(text: str) -> tuple[str, str]:
    """``ID=CUR`` as a pair. Raises ArgumentTypeError."""
    found = ACCOUNT.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form ID=EUR")
    return found[1], found[2]


def settings_of(arguments: list[str]) -> Settings:
    """Read the command line. Raises TokenFileRefused."""
    parser = argparse.ArgumentParser(prog="strongroom_sandbox.braintree", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, required=True, help="0 for any free port")
    parser.add_argument("--data", type=Path, required=True, help="folder of the ledger")
    parser.add_argument(
        "--credentials-file", type=Path, required=True,
        help="MERCHANT_ID:PUBLIC_KEY:PRIVATE_KEY, one a line, at most two",
    )  # fmt: skip
    parser.add_argument("--knob-token-file", type=Path, required=True)
    parser.add_argument(
        "--merchant-account", type=account, action="append", metavar="ID=CUR",
        help="a merchant account and its currency, the default first; "
        + ", ".join(ACCOUNTS) + " where none is given",
    )  # fmt: skip
    parser.add_argument("--webhooks-file", type=Path, help="JSON: where events are sent")
    given = parser.parse_args(arguments)
    return Settings(
        host=given.host,
        port=given.port,
        data=given.data,
        credentials=Credentials(given.credentials_file),
        knob_token=read_token(given.knob_token_file),
        accounts=dict(given.merchant_account or map(account, ACCOUNTS)),
        webhooks_file=given.webhooks_file,
    )


def main() -> int:
    """Run and return the exit code."""
    return run(settings_of, StandIn)


if __name__ == "__main__":
    sys.exit(main())
