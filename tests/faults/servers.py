"""A PostgreSQL server of a test's own, which can be stopped, backed up, and restored."""

import asyncio
import os
import shutil
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

from strongroom.local import binaries, postgres
from strongroom.local.leftovers import clear_leftovers
from strongroom.local.ports import LOOPBACK
from strongroom.local.process import spawn

START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30
BACKUP_SECONDS_MAX = 120


class OwnServer:
    """One server below `base`; it ends with the test, also when that is killed."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._cluster = postgres.prepare(base / "home", system_root=base / "system")
        with self._cluster.hba_file.open("a") as rules:
            rules.write(f"host replication all {LOOPBACK}/32 scram-sha-256\n")
        self._log = base / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        return postgres.url(self._cluster, database)

    def start(self) -> None:
        self.begin()
        asyncio.run(self.ready())

    def begin(self) -> None:
        """Starts it, and waits for nothing."""
        with self._log.open("ab") as output:
            self._process = spawn(
                postgres.command(self._cluster),
                env=postgres.environment(),
                output=output.fileno(),
                cwd=self._cluster.data_dir,
                run_as=self._cluster.run_as,
                death_signal=postgres.DEATH_SIGNAL,
            )

    async def ready(self) -> None:
        """Waits until it answers."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while not await postgres.is_ready(self._cluster):
            assert self._process is not None
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            await asyncio.sleep(0.02)

    async def restart_at_once(self) -> None:
        """Immediate shutdown: no checkpoint, nobody is waited for; then it recovers."""
        assert self._process is not None
        self._process.send_signal(postgres.DEATH_SIGNAL)
        await asyncio.to_thread(self._process.wait, STOP_SECONDS_MAX)
        self.begin()
        await self.ready()

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(postgres.STOP_SIGNAL)
            try:
                self._process.wait(STOP_SECONDS_MAX)
            finally:
                self._process.kill()
                self._process = None
                asyncio.run(clear_leftovers(self._cluster))

    def base_backup(self, folder: Path) -> Path:
        """The whole server, as pg_basebackup copies it."""
        self._run("pg_basebackup", "-D", os.fspath(folder), "-X", "stream", "-c", "fast")
        return folder

    def dump(self, database: str, file: Path, *, plain: bool = False) -> Path:
        """One database, as pg_dump writes it."""
        how = "plain" if plain else "custom"
        self._run("pg_dump", "--format", how, "-f", os.fspath(file), database=database)
        return file

    def restore_base(self, backup: Path) -> None:
        """The server is as it was; it must not run."""
        assert self._process is None
        data = self._cluster.data_dir
        shutil.rmtree(data)
        shutil.copytree(backup, data)
        data.chmod(0o700)
        if (account := self._cluster.run_as) is not None:
            for folder, _, names in os.walk(data):
                for path in (folder, *(f"{folder}/{name}" for name in names)):
                    os.chown(path, account.uid, account.gid)

    def restore_dump(self, database: str, file: Path) -> None:
        """The database is as it was."""
        self._run("psql", "-c", f'DROP DATABASE "{database}" WITH (FORCE)')
        self._run("pg_restore", "--create", "--exit-on-error", os.fspath(file))

    def _run(self, program: str, *words: str, database: str = "postgres") -> None:
        parts = urlsplit(self.url(database))
        done = subprocess.run(
            [binaries.locate() / program, "-d", self.url(database), *words],
            env={"PATH": os.environ["PATH"], "PGPASSWORD": parts.password or ""},
            capture_output=True, text=True, timeout=BACKUP_SECONDS_MAX, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stderr}"
