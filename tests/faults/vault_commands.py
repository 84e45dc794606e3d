"""Commands of the vault, run beside everything else, and killed where a test wants it."""

import signal
import subprocess
import sys
from typing import Final

from strongroom.local.process import MARK, child_environment, spawn
from tests.faults.deployment import SOURCE, Deployment, until

SECONDS_MAX: Final = 400.0


class Command:
    """One `strongroom vault …` as a child; it ends with the deployment at the latest."""

    def __init__(self, deployment: Deployment, *words: str) -> None:
        self._file = deployment.base / f"command-{len(deployment.others)}.log"
        argv = [sys.executable, "-m", "strongroom", "vault", *words]
        with self._file.open("wb") as output:
            self.process: subprocess.Popen[bytes] = spawn(
                [*argv, "--home", str(deployment.home)],
                env=child_environment() | {"PYTHONPATH": str(SOURCE), MARK: str(deployment.home)},
                output=output.fileno(),
                cwd=deployment.base,
            )
        deployment.others.append(self.process)

    async def ended(self) -> tuple[int, str]:
        """Its exit status, and what it said."""
        await until(lambda: self.process.poll() is not None, SECONDS_MAX, "a command to end")
        return self.process.returncode, self.said()

    async def succeeds(self) -> str:
        """What it said. Raises AssertionError when it fails."""
        code, said = await self.ended()
        assert code == 0, said
        return said

    async def kill(self) -> None:
        """SIGKILL while it runs."""
        assert self.process.poll() is None, self.said()
        self.process.send_signal(signal.SIGKILL)
        code, said = await self.ended()
        assert code == -signal.SIGKILL, said

    def said(self) -> str:
        return self._file.read_text()
