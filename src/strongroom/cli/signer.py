"""`strongroom signer`: signs the logs, as a process with a key and a memory of its own.

Beside that it brings what it signed to the witnesses of the settings.
It needs no more of the database than to read the log. Run it as a user of its own: who has its
files can sign, and the payments' processes have no need of them.
"""

from typing import Final

import structlog

from strongroom.clock import SystemClock
from strongroom.config import ConfigurationError, Home
from strongroom.database import connect_pool
from strongroom.directory import check_mode, check_schema, log_origin
from strongroom.log.epochs import epochs_in
from strongroom.log.memory import Memory
from strongroom.log.notes import NoteKey
from strongroom.log.signing import Signer
from strongroom.log.submitting import Submitter
from strongroom.process import calm_collector, stop_signals
from strongroom.telemetry.chosen import telemetry_of
from strongroom.tls import system_tls
from strongroom.vault.secret import Secret
from strongroom.work.lasting import lasting, let_go

KEY: Final = "log_key"
MEMORY: Final = "signer"
CONNECTIONS: Final = 2

log = structlog.get_logger()


async def run_signer(home: Home, metrics_port: int | None = None) -> None:
    """Signs until SIGTERM or SIGINT; `metrics_port`, on loopback, is where it tells of itself.

    Raises ConfigurationError when the home or the database does not fit, or where it is not known
    what was signed before.
    """
    settings, clock = home.settings(), SystemClock()
    pool = await connect_pool(
        home.secret("database_signer_url"), size_max=CONNECTIONS, application="strongroom-signer"
    )
    await check_mode(pool, settings.mode)
    await check_schema(pool)
    memory = Memory(home.path / MEMORY)
    key = key_of(home, await log_origin(pool), memory)
    memory.hold()
    # A machine that has the folder, and nothing in it yet, is told from one that has none.
    home.logs.mkdir(exist_ok=True)
    telemetry = telemetry_of(settings, clock, "strongroom-signer", metrics_port)
    signer = Signer(pool, clock, key, home.logs, memory, telemetry)
    submitter = Submitter(
        home.logs,
        settings.witnesses,
        clock,
        telemetry,
        signer.cosigned,
        system_tls(settings.mode),
    )
    await signer.remember()
    telemetry.watch_signing(signer.stopped, submitter.behind)
    telemetry.start()
    calm_collector()
    stopping = stop_signals()
    parts = lasting(signer.run()), lasting(submitter.run())
    log.info("signer_ready", mode=settings.mode)
    await stopping.wait()
    await let_go(*parts)
    await telemetry.close()
    memory.release()
    await pool.close()
    log.info("signer_stopped")


def key_of(home: Home, origin: str, memory: Memory) -> NoteKey:
    """The key of this deployment's logs; the first time it is made here, where it is to stay.

    Key and memory belong together: one without the other was lost. Raises ConfigurationError, and
    NoteRefused when the file is not usable.
    """
    if not home.has_secret(KEY):
        if memory.exists() or epochs_in(home.logs):
            raise ConfigurationError(
                f"{home.secrets / KEY} is missing, and logs were signed before: restore it. A new "
                "key would sign all of history anew."
            )
        home.write_secret(KEY, NoteKey.new(origin).text().reveal_text())
    elif not memory.exists():
        raise ConfigurationError(
            f"{memory.folder} is missing, and without it nobody knows what {KEY} has signed: "
            "restore it from a backup."
        )
    key = NoteKey.read(Secret(home.secret(KEY)))
    if key.name != origin:
        raise ConfigurationError(f"{home.secrets / KEY} signs as {key.name}, not as {origin}.")
    return key
