"""The process of `strongroom witness`: HTTP before a witness, by C2SP's tlog-witness.

It has no home, no database and no secret but its own key. Whoever can reach it can ask it; what it
believes is signed by a log that it was told of.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from strongroom.clock import SystemClock
from strongroom.errors import described
from strongroom.log.witnessing import (
    ADD_CHECKPOINT,
    BODY_BYTES_MAX,
    TEXT_TYPE,
    NotCosigned,
    Witness,
    WitnessFolder,
    read_logs,
)
from strongroom.process import calm_collector, stop_signals

BODY_SECONDS_MAX: Final = 10.0
SUBMISSIONS_MAX: Final = 64
"""That are read and judged at once; more are asked to come again."""
SHUTDOWN_SECONDS: Final = 5.0
IDLE_SECONDS: Final = 15.0
"""A connection that asks nothing is closed."""
HEADER_BYTES_MAX: Final = 4_096

log = structlog.get_logger()


async def serve_witness(
    path: Path, name: str | None, logs: Sequence[str], host: str, port: int
) -> None:
    """Answers until SIGTERM or SIGINT.

    Raises ConfigurationError when the folder or a log's key is not usable, OSError for the address.
    """
    folder = WitnessFolder(path)
    key = folder.key(name)
    folder.hold()
    known = read_logs(files_of(logs))
    runner = web.AppRunner(
        application_of(Witness(folder, key, known, SystemClock())),
        access_log=None, shutdown_timeout=SHUTDOWN_SECONDS, keepalive_timeout=IDLE_SECONDS,
        max_line_size=HEADER_BYTES_MAX, max_field_size=HEADER_BYTES_MAX,
    )  # fmt: skip
    stopping = stop_signals()
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        print(key.verifier.text(), flush=True)
        calm_collector()
        log.info("witness_ready", host=host, port=runner.addresses[0][1], items=len(known))
        await stopping.wait()
    finally:
        await runner.cleanup()
    log.info("witness_stopped")


def files_of(words: Sequence[str]) -> dict[Path, str | None]:
    """The files with public keys that `--log` named, and the origins where they were said."""
    files: dict[Path, str | None] = {}
    for word in words:
        origin, equals, file = word.partition("=")
        if Path(word).is_dir():
            inside = (each for each in sorted(Path(word).iterdir()) if each.is_file())
            files |= dict.fromkeys(inside)
        elif equals:
            files[Path(file)] = origin
        else:
            files[Path(word)] = None
    return files


def application_of(witness: Witness) -> web.Application:
    """What answers for this witness."""
    at_once = asyncio.Semaphore(SUBMISSIONS_MAX)

    async def answer(request: web.Request) -> web.Response:
        if at_once.locked():
            return web.Response(status=503, text="too many at once", headers={"Retry-After": "1"})
        async with at_once:
            try:
                async with asyncio.timeout(BODY_SECONDS_MAX):
                    body = await request.read()
                line = await asyncio.to_thread(witness.add_checkpoint, body)
            except NotCosigned as refusal:
                return web.Response(
                    status=refusal.status, text=refusal.text, content_type=refusal.content_type
                )
            except TimeoutError:
                return web.Response(status=408, text="the body did not come")
            except OSError as fault:
                log.error("witness_failed", **described(fault))
                return web.Response(status=500, text="nothing was signed")
            return web.Response(body=line, content_type=TEXT_TYPE, charset="utf-8")

    application = web.Application(client_max_size=BODY_BYTES_MAX)
    application.router.add_post(ADD_CHECKPOINT, answer)
    return application
