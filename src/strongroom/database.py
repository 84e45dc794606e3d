"""Connections, and statements that live in .sql files beside the noun they serve.

A .sql file holds statements, each under one comment line `-- name: what it does`. They are loaded
once, by name.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import cache, wraps
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar
from uuid import UUID

import asyncpg

from strongroom.ids import as_array_literal
from strongroom.migrations import session_name

COMMAND_TIMEOUT_SECONDS: Final = 5.0
CONNECT_TIMEOUT_SECONDS: Final = 5.0
LOCK_TIMEOUT: Final = "3s"
SEARCH_PATH: Final = "strongroom_next, strongroom, directory"
"""What a migration moves while an older version serves is found in strongroom_next."""
IDLE_IN_TRANSACTION_TIMEOUT: Final = "8s"

NO_SETTINGS: Final[Mapping[str, str]] = MappingProxyType({})

SILENT_IDLE_SECONDS: Final = 10
SILENT_PROBE_SECONDS: Final = 5
SILENT_PROBES_MAX: Final = 3
"""After 25 seconds without a sign of life a connection is given up, at either end. A host that is
gone says nothing; by the kernel's own defaults it is waited for two hours, and keeps a place at the
database that others want."""
_PROBED: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENT_IDLE_SECONDS),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, SILENT_PROBE_SECONDS),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, SILENT_PROBES_MAX),
    (
        socket.IPPROTO_TCP,
        socket.TCP_USER_TIMEOUT,
        1000 * (SILENT_IDLE_SECONDS + SILENT_PROBES_MAX * SILENT_PROBE_SECONDS),
    ),
)

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Own = asyncpg.Connection[asyncpg.Record]
    Connection = Own | PoolConnectionProxy[asyncpg.Record]
else:
    Own = Connection = asyncpg.Connection

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_NAME: Final = re.compile(r"^-- ([a-z_]+): .*$", re.MULTILINE)

SERIALIZATION_FAILURES: Final = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.InvalidCachedStatementError,
)
"""A transaction is retried whole on SQLSTATE 40001 and 40P01, and when a migration has changed the
shape of rows that a prepared statement gives; asyncpg prepares it anew then."""
READS_MAX: Final = 3

HELD_UP: Final = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)
"""A lock did not come in time, or the server's own timeout did. The server says so before it has
committed, so nothing was; often it is one row of a batch, which somebody else holds."""

lock_timeout: Final[ContextVar[str]] = ContextVar("lock_timeout")
"""Transactions of a task that sets it wait this long for a lock instead of LOCK_TIMEOUT."""

DATA_FAULTS: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
"""SQLSTATE classes 22 and 23: one item of a batch is at fault, found by halving the batch."""

UNREACHABLE: Final = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.ObjectNotInPrerequisiteStateError,
)
"""The database did not answer, or not in time, or cannot write now: nothing is known about what
was asked of it, and the same may be asked again."""


class Probed(Own):
    """A connection that finds out by itself that nobody is at the other end any more."""

    __slots__ = ()

    def __init__(self, protocol: Any, transport: Any, *rest: Any) -> None:
        super().__init__(protocol, transport, *rest)
        connected = transport.get_extra_info("socket")
        if connected is not None and connected.family != socket.AF_UNIX:
            for level, option, value in _PROBED:
                connected.setsockopt(level, option, value)


@cache
def statements(package: str, file: str) -> dict[str, str]:
    """The statements of `file` in `package`, by name."""
    text = resources.files(package).joinpath(file).read_text("utf-8")
    parts = _NAME.split(text)
    return {
        name: f"-- {name}\n{sql.strip()}"
        for name, sql in zip(parts[1::2], parts[2::2], strict=True)
    }


async def connect_pool(
    url: str, *, size_max: int, application: str, settings: Mapping[str, str] = NO_SETTINGS
) -> asyncpg.Pool:
    """A pool of connections with the timeouts of this module; opens the first lazily.

    `settings`: what else holds in its sessions.

    Raises the errors of UNREACHABLE when the database cannot be reached.
    """
    return await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=size_max,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=COMMAND_TIMEOUT_SECONDS,
        max_inactive_connection_lifetime=300.0,
        reset=_leave_clean,
        connection_class=Probed,
        server_settings={
            "tcp_keepalives_idle": str(SILENT_IDLE_SECONDS),
            "tcp_keepalives_interval": str(SILENT_PROBE_SECONDS),
            "tcp_keepalives_count": str(SILENT_PROBES_MAX),
            "application_name": session_name(application),
            "search_path": SEARCH_PATH,
            "lock_timeout": LOCK_TIMEOUT,
            "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_TIMEOUT,
            "jit": "off",
            # Every statement goes by key, for a batch of rows. A plan that is kept was made while
            # the tables had another size, and may walk them; planning costs 1 to 2 µs a row.
            "plan_cache_mode": "force_custom_plan",
            # Row-level security makes the planner believe that it sees a few rows of each table
            # until statistics say otherwise, and a join that reads all of them looks cheap. What
            # a batch touches was written moments ago, so it is in memory: look-ups by key it is.
            "enable_seqscan": "off",
            "enable_hashjoin": "off",
            "enable_mergejoin": "off",
            "seq_page_cost": "0.02",
            "random_page_cost": "0.02",
            **settings,
        },
    )


async def _leave_clean(connection: Connection) -> None:
    """Before a connection goes back: settings are transaction-local, so end what is open."""
    if connection.is_in_transaction():
        await connection.execute("ROLLBACK")


async def begin(
    connection: Connection,
    legal_entity_ids: Iterable[UUID],
    *,
    read_only: bool = False,
    buckets: Sequence[int] = (),
) -> None:
    """Opens a transaction that sees the rows of these legal entities only; one round trip.

    A worker that names `buckets` sees their jobs as well.
    """
    mode = " READ ONLY" if read_only else ""
    served = f"SET LOCAL strongroom.buckets = '{','.join(map(str, buckets))}'; " if buckets else ""
    patience = lock_timeout.get(None)
    waits = f"SET LOCAL lock_timeout = '{patience}'; " if patience else ""
    await connection.execute(f"BEGIN{mode}; {waits}{served}{_seeing(legal_entity_ids)}")


async def see(connection: Connection, legal_entity_ids: Iterable[UUID]) -> None:
    """From now to the end of its transaction the connection sees these legal entities' rows."""
    await connection.execute(_seeing(legal_entity_ids))


def _seeing(legal_entity_ids: Iterable[UUID]) -> str:
    """The statement that row-level security goes by; ids are UUIDs, so there is no injection."""
    return f"SET LOCAL strongroom.legal_entities = '{as_array_literal(legal_entity_ids)}'"


@asynccontextmanager
async def reading(
    pool: asyncpg.Pool, legal_entity_ids: Iterable[UUID], *, buckets: Sequence[int] = ()
) -> AsyncIterator[Connection]:
    """A read-only transaction over the rows of these legal entities, and what these buckets show.

    Who is cancelled while it begins leaves none open either.
    """
    async with pool.acquire() as connection:
        try:
            await begin(connection, legal_entity_ids, read_only=True, buckets=buckets)
            yield connection
        finally:
            await rollback(connection)


def rereading(
    read: Callable[Arguments, Coroutine[Any, Any, Result]],
) -> Callable[Arguments, Coroutine[Any, Any, Result]]:
    """A read that is done again, whole, where the server broke it off for the sake of another.

    Or because a migration changed the shape of its rows in that moment.
    """

    @wraps(read)
    async def again(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        for _ in range(READS_MAX - 1):
            try:
                return await read(*arguments, **named)
            except SERIALIZATION_FAILURES:
                continue
        return await read(*arguments, **named)

    return again


@rereading
async def rows_by_id(
    pool: asyncpg.Pool, statement: str, wanted: Mapping[UUID, UUID]
) -> list[asyncpg.Record]:
    """Rows by id, unknown ones left out; `wanted` maps ids to legal entities.

    `statement` takes the legal entities and, beside each, the id.
    """
    async with reading(pool, set(wanted.values())) as connection:
        found: list[asyncpg.Record] = await connection.fetch(
            statement, list(wanted.values()), list(wanted.keys())
        )
    return found


@asynccontextmanager
async def writing(
    pool: asyncpg.Pool, legal_entity_ids: Iterable[UUID], *, buckets: Sequence[int] = ()
) -> AsyncIterator[Connection]:
    """A transaction over the rows of these legal entities, and the jobs of these buckets.

    Commits at the end of the block; rolls back, or gives the connection up, when it raises. When
    COMMIT itself raises an error of UNREACHABLE, nobody knows whether it took effect.
    """
    async with pool.acquire() as connection:
        try:
            await begin(connection, legal_entity_ids, buckets=buckets)
            yield connection
            await connection.execute("COMMIT")
        except BaseException as error:
            await end_after(error, connection)
            raise


async def rollback(connection: Connection) -> None:
    """Ends a transaction without effect; a connection that cannot even do that is closed."""
    try:
        await connection.execute("ROLLBACK")
    except (asyncpg.PostgresError, *UNREACHABLE):
        connection.terminate()
    except asyncio.CancelledError:
        connection.terminate()
        raise


async def end_after(error: BaseException, connection: Connection) -> None:
    """Ends the transaction that `error` broke.

    Where the server answered it is rolled back; where it did not, the connection is not waited
    for but closed.
    """
    silent = isinstance(error, (*UNREACHABLE, asyncio.CancelledError))
    if connection.is_closed() or (silent and not isinstance(error, HELD_UP)):
        connection.terminate()
    else:
        await rollback(connection)
