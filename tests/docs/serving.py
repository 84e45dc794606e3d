"""`strongroom` as the pages call it: what serves without end is stopped as soon as it is ready.

    python -m tests.docs.serving WORDS

An API or a worker is started for real, on a free port in the place of the one that is shown.
Everything else is the command itself.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from strongroom.local.ports import free_ports
from strongroom.local.process import die_with_parent

SERVERS: Final = {"api": '"event": "api_ready"', "worker": '"event": "worker_ready"'}
PORTS: Final = ("--port", "--metrics-port")
READY_SECONDS_MAX: Final = 90.0
STOP_SECONDS_MAX: Final = 60.0
LOOK_SECONDS: Final = 0.05


def main(words: list[str]) -> int:
    command = [sys.executable, "-m", "strongroom", *words]
    if not words or words[0] not in SERVERS:
        os.execv(command[0], command)
    for place, word in enumerate(command[:-1]):
        if word in PORTS:
            command[place + 1] = str(free_ports(1))
    return _serve(command, SERVERS[words[0]])


def _serve(command: list[str], ready: str) -> int:
    """Runs it until it says that it is ready; 0 when it then ended well."""
    parent = os.getpid()
    with tempfile.NamedTemporaryFile() as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            preexec_fn=lambda: die_with_parent(parent, signal.SIGKILL),  # noqa: PLW1509
        )  # fmt: skip
        try:
            ends = time.monotonic() + READY_SECONDS_MAX
            while ready not in (said := Path(log.name).read_text()):
                if process.poll() is not None or time.monotonic() > ends:
                    print(f"{' '.join(command)} did not get ready:\n{said}", file=sys.stderr)
                    return 1
                time.sleep(LOOK_SECONDS)
            process.terminate()
            return process.wait(STOP_SECONDS_MAX)
        finally:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
