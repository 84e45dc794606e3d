"""``python -m strongroom_sandbox.stripe``: run the stand-in until SIGTERM or SIGINT."""

import argparse
import asyncio
import gc
import json
import signal
import sys
from pathlib import Path

import uvloop

from strongroom_sandbox.ledger import LedgerRefused
from strongroom_sandbox.stripe.server import NotLoopback, Settings, StandIn
from strongroom_sandbox.tokens import TokenFileRefused, read_token

EXIT_REFUSED = 78  # EX_CONFIG of sysexits.h
GC_ALLOCATIONS = 50_000  # large stable state: fewer full collections


def settings_of(arguments: list[str]) -> Settings:
    """Read the command line. Raises TokenFileRefused."""
    parser = argparse.ArgumentParser(prog="strongroom_sandbox.stripe", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, required=True, help="0 for any free port")
    parser.add_argument("--data", type=Path, required=True, help="folder of the ledger")
    parser.add_argument("--secret-key-file", type=Path, required=True, help="holds sk_test_…")
    parser.add_argument("--knob-token-file", type=Path, required=True)
    parser.add_argument("--public-url", help="where a browser finds this server")
    given = parser.parse_args(arguments)
    return Settings(
        host=given.host,
        port=given.port,
        data=given.data,
        secret_key=read_token(given.secret_key_file, prefix="sk_test_"),
        knob_token=read_token(given.knob_token_file),
        public_url=given.public_url,
    )


async def serve(settings: Settings) -> None:
    """Serve until a signal asks to stop."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    gc.disable()
    stand_in = StandIn(settings)
    # What was loaded stays; collecting it again and again would only cost time.
    gc.freeze()
    gc.enable()
    gc.set_threshold(GC_ALLOCATIONS, 20, 50)
    await stand_in.start()
    print("ready", json.dumps({"url": stand_in.url}), flush=True)
    await stopping.wait()
    await stand_in.stop()


def main() -> int:
    """Run and return the exit code: 0 after a signal, EXIT_REFUSED when it may not start."""
    try:
        settings = settings_of(sys.argv[1:])
        uvloop.run(serve(settings))
    except (TokenFileRefused, LedgerRefused, NotLoopback, OSError) as error:
        print(f"refused to start: {error}", file=sys.stderr)
        return EXIT_REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
