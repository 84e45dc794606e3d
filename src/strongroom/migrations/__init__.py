"""Migrations are plain SQL files, applied in order, each in one transaction, exactly once.

They run while an older version serves. A statement that waits for a table makes every request
behind it wait as well, so none waits long: it gives way, and tries again. What a version before
still uses is taken away by a file that FINISHES, and only when nobody is connected who needs it.
"""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import cache, partial
from importlib import resources
from typing import Final, NamedTuple

import asyncpg

from strongroom.clock import monotonic_seconds
from strongroom.config import ConfigurationError

PAYMENTS: Final = __name__
KEYS: Final = "strongroom.vault.migrations"
"""The packages that hold the files of each of the two databases."""
GROUP_ROLES: Final = ("strongroom_api", "strongroom_worker")
LOG_ROLES: Final = ("strongroom_sequencer", "strongroom_signer")
"""Those of the log, which have no login to the keys."""
FINISHES: Final = "-- Finishes "
"""A file that begins so takes something away; the rest of its line says what."""
LOCK_SECONDS: Final = (0.2, 0.5, 1.0, 2.0)
"""How long a try waits for a table; the last one repeats. Below the 3 s of a request, and at the
end above the server's deadlock_timeout (1 s), after which autovacuum gives way."""
PAUSE_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
TRIES_MAX: Final = 30
RUNNER_SECONDS: Final = 60
"""How long one that migrates waits for another."""
SESSIONS_NAMED_MAX: Final = 5
LEAVE_SECONDS: Final = 5.0
"""How long the sessions of a process that has just ended may take to go."""
LEAVE_LOOK_SECONDS: Final = 0.1

_LEDGER: Final = """
CREATE TABLE IF NOT EXISTS public.strongroom_migrations (
  name text PRIMARY KEY, digest text NOT NULL, applied_at timestamptz NOT NULL)
"""
_LOCK_LEDGER: Final = "LOCK TABLE public.strongroom_migrations IN EXCLUSIVE MODE"
_SESSIONS: Final = """
SELECT a.application_name, count(*) AS many FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND EXISTS (
  SELECT FROM pg_auth_members m WHERE m.member = a.usesysid AND m.roleid::regrole::text = ANY ($1))
GROUP BY 1 ORDER BY 1
"""
_IN_THE_WAY: Final = """
SELECT pid, usename, application_name, state,
  extract(epoch FROM clock_timestamp() - xact_start)::int AS seconds
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
  AND xact_start < clock_timestamp() - make_interval(secs => $1)
ORDER BY xact_start LIMIT $2
"""

Tell = Callable[[str], None]
"""Hears a line of progress."""


class MigrationStopped(ConfigurationError):
    """The database could not be brought up to date; the message says how far it got, and why."""


class Migration(NamedTuple):
    """One file."""

    name: str
    sql: str

    @property
    def number(self) -> int:
        """Its place in the order, from 1."""
        return int(self.name.partition("_")[0])

    @property
    def finishes(self) -> bool:
        """Whether it takes away what older versions use."""
        return self.sql.startswith(FINISHES)

    @property
    def digest(self) -> str:
        """By which an edit of an applied file is noticed."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def files(package: str = PAYMENTS) -> list[Migration]:
    """Every migration of a database, in the order in which they apply."""
    folder = resources.files(package)
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [Migration(name, folder.joinpath(name).read_text("utf-8")) for name in names]


@cache
def session_name(program: str) -> str:
    """What a process calls its sessions: the program, and the newest migration that it knows."""
    return f"{program}/{files()[-1].number:04}"


def version_of_session(name: str) -> int:
    """The newest migration that the process behind a session knows; 1 when it does not say."""
    number = name.rpartition("/")[2]
    return int(number) if number.isdecimal() else 1


async def pending(connection: asyncpg.Connection, package: str = PAYMENTS) -> list[Migration]:
    """The migrations that this database has not seen.

    Raises MigrationStopped when a file was changed after it was applied.
    """
    there = await connection.fetchval("SELECT to_regclass('public.strongroom_migrations')")
    done: dict[str, str] = {}
    if there:
        rows = await connection.fetch("SELECT name, digest FROM public.strongroom_migrations")
        done = {row["name"]: row["digest"] for row in rows}
    for migration in files(package):
        if done.get(migration.name, migration.digest) != migration.digest:
            raise MigrationStopped(
                f"{migration.name} is not the file that this database was migrated by."
            )
    return [migration for migration in files(package) if migration.name not in done]


async def migrate(
    connection: asyncpg.Connection,
    at: datetime,
    *,
    finish: bool = False,
    tell: Tell = lambda _: None,
    package: str = PAYMENTS,
    before_finishing: Callable[[], Awaitable[None]] | None = None,
) -> list[str]:
    """Brings the database up to date as its owner; returns the names applied now.

    What finishes comes last, after `before_finishing`: that is applied when `finish` says so and no
    process of an older version is connected, and in a new database. Two that run at once take
    turns. Raises MigrationStopped; nothing of the file that it names stays then.
    """
    await create_group_roles(connection)
    await _create_ledger(connection)
    waiting = await pending(connection, package)
    finish = finish or len(waiting) == len(files(package))
    applied: list[str] = []

    async def apply_all(migrations: Sequence[Migration]) -> None:
        for migration in migrations:
            begun = monotonic_seconds()
            apply = partial(_apply, migration, at, package)
            if await patiently(connection, migration.name, apply, tell):
                tell(f"{migration.name}: applied in {monotonic_seconds() - begun:.2f} s")
                applied.append(migration.name)

    await apply_all([one for one in waiting if not one.finishes])
    if before_finishing is not None:
        await before_finishing()
    finishing = [one for one in waiting if one.finishes]
    if finish:
        await apply_all(finishing)
    else:
        for one in finishing:
            tell(f"{one.name}: waits for `strongroom migrate --finish`")
    return applied


async def patiently(
    connection: asyncpg.Connection,
    what: str,
    work: Callable[[asyncpg.Connection], Awaitable[bool]],
    tell: Tell,
) -> bool:
    """Does `work` in one transaction that waits for tables only as long as requests can bear it.

    Tries again when others are in the way. Raises MigrationStopped when they stay there, and when
    the server refuses.
    """
    for tries in range(TRIES_MAX):
        seconds = LOCK_SECONDS[min(tries, len(LOCK_SECONDS) - 1)]
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{RUNNER_SECONDS}s'")
                await connection.execute(_LOCK_LEDGER)
                await connection.execute(f"SET LOCAL lock_timeout = '{seconds}s'")
                return await work(connection)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            tell(f"{what}: others use the table, trying again ({tries + 1} of {TRIES_MAX})")
            pause = PAUSE_SECONDS[min(tries, len(PAUSE_SECONDS) - 1)]
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311
        except (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as error:
            raise MigrationStopped(
                f"{what}: the connection was lost, so nobody knows whether it was applied. Run "
                "`strongroom migrate` again."
            ) from error
        except asyncpg.PostgresError as error:
            raise MigrationStopped(
                f"{what} was not applied, nothing of it stays: {error.args[0]} ({error.sqlstate})."
            ) from error
    raise MigrationStopped(
        f"{what} was not applied, nothing of it stays: {await _in_the_way(connection)}"
    )


async def _apply(
    migration: Migration, at: datetime, package: str, connection: asyncpg.Connection
) -> bool:
    """Whether it was applied now; False when somebody else has meanwhile."""
    if migration not in await pending(connection, package):
        return False
    if migration.finishes and (older := await _older_sessions(connection, migration.number)):
        raise MigrationStopped(
            f"{migration.name} takes away what these still use: {', '.join(older)}. "
            "Stop the processes of older versions first."
        )
    await connection.execute(migration.sql)
    await connection.execute(
        "INSERT INTO public.strongroom_migrations VALUES ($1, $2, $3)",
        migration.name,
        migration.digest,
        at,
    )
    return True


async def _older_sessions(connection: asyncpg.Connection, number: int) -> list[str]:
    """Sessions of our processes that do not know the migration, by the name that they go by."""
    ends = monotonic_seconds() + LEAVE_SECONDS
    while True:
        # Within a transaction the server shows what it showed first, unless it is told to look.
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        rows = await connection.fetch(_SESSIONS, [*GROUP_ROLES, *LOG_ROLES])
        older = [
            f"{row['application_name']} ({row['many']} sessions)"
            for row in rows
            if version_of_session(row["application_name"]) < number
        ]
        if not older or monotonic_seconds() > ends:
            return older
        await asyncio.sleep(LEAVE_LOOK_SECONDS)


async def _in_the_way(connection: asyncpg.Connection) -> str:
    rows = await connection.fetch(_IN_THE_WAY, LOCK_SECONDS[-1], SESSIONS_NAMED_MAX)
    if not rows:
        return "its tables were in use each time. Try again when there is less traffic."
    named = ", ".join(
        f"pid {row['pid']} ({row['application_name'] or row['usename']}, {row['state']}, "
        f"{row['seconds']} s)"
        for row in rows
    )
    return f"sessions with an old transaction may be in the way: {named}."


async def _create_ledger(connection: asyncpg.Connection) -> None:
    """The table of what was applied, which our processes may read."""
    while True:
        try:
            async with connection.transaction():
                await connection.execute(_LEDGER)
                await connection.execute(_LOCK_LEDGER)
                await connection.execute(
                    "GRANT SELECT ON public.strongroom_migrations TO "
                    + ", ".join((*GROUP_ROLES, *LOG_ROLES))
                )
                return
        except (
            asyncpg.DuplicateTableError,
            asyncpg.DuplicateObjectError,  # its row type
            asyncpg.UniqueViolationError,
        ):
            continue  # another migration made it in the same moment


async def create_group_roles(connection: asyncpg.Connection) -> None:
    """Creates the roles that hold the grants, where the server has not got them.

    Roles belong to the server, not to the database, so another database may have made them.
    """
    for role in (*GROUP_ROLES, *LOG_ROLES):
        there = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
        if there is None:
            try:
                await connection.execute(f"CREATE ROLE {role} NOLOGIN")
            except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
                continue  # another migration of this server made it in the same moment
