"""What a person does by the command line, as events of the log, in the transaction that does it.

Of each the log has the six fields of PCI DSS v4.0.1, requirement 10.2.2: who (the event's actor),
what kind, when, whether it succeeded (`outcome`), from where (`origin`), and to what it was done
(the event's subject, and the rest of its payload). No secret is in one, and of the person the name
of the login alone.
"""

import hashlib
import os
import pwd
import socket
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from strongroom.config import ConfigurationError
from strongroom.database import Connection, begin, rollback, statements
from strongroom.log.entries import OPERATOR

SQL: Final = statements("strongroom.log", "log.sql")
LOGIN: Final = Path("/proc/self/loginuid")
"""As whom somebody logged in; su and sudo do not change it (Linux audit)."""

Outcome = Literal["succeeded", "failed"]


def operator() -> str:
    """`operator:` and the login name of the person who runs this process.

    As the kernel knows it: a variable of the environment, as LOGNAME, anybody can set. Who became
    another user by su or sudo is named as whom he logged in.
    """
    return f"{OPERATOR}{_login_name()}"


def by_hand(outcome: Outcome = "succeeded") -> dict[str, Any]:
    """What the payload of each such event has: how it ended, and on which machine it was asked."""
    return {"outcome": outcome, "origin": {"by": "command_line", "host": socket.gethostname()}}


async def note(
    connection: Connection,
    legal_entity_id: UUID,
    subject_id: UUID,
    kind: str,
    at: datetime,
    *,
    outcome: Outcome = "succeeded",
    **details: Any,
) -> int:
    """Leaves an event of a subject that has versions in its events alone; returns its version.

    `connection` is the owner's, in a transaction that sees the legal entity, and the caller
    commits. Until then others who note something of that legal entity wait, so what may have to
    wait itself comes before. `details` say what was done; no secret is among them. Raises
    ConfigurationError where there is no such legal entity.
    """
    if await connection.fetchval(SQL["hold_notes"], legal_entity_id) is None:
        raise ConfigurationError("there is no such legal entity.")
    payload = msgspec.json.encode({**by_hand(outcome), **details}, order="deterministic")
    version: int = await connection.fetchval(
        SQL["note"],
        legal_entity_id,
        subject_id,
        kind,
        operator(),
        at,
        hashlib.sha256(payload).digest(),
        payload,
    )
    return version


async def note_of_keys(
    connection: Connection,
    legal_entity_id: UUID,
    kind: str,
    at: datetime,
    *,
    outcome: Outcome = "succeeded",
    **details: Any,
) -> None:
    """As `note`, of a legal entity, in a transaction of its own: for what was done to its keys.

    They are in another database, which has committed before this does, so the log never says of a
    key that was not made or destroyed that it was. A crash between the two leaves what was done
    without its event; the row of the key, or the tombstone, says when it was. Each of these
    commands is run again after a crash, does what is left, and leaves its event then. A database of
    the payments that cannot be reached stops them before anything is done.
    """
    await begin(connection, [legal_entity_id])
    try:
        await note(
            connection, legal_entity_id, legal_entity_id, kind, at, outcome=outcome, **details
        )
        await connection.execute("COMMIT")
    finally:
        if connection.is_in_transaction():
            await rollback(connection)


def _login_name() -> str:
    for uid in (_logged_in_as(), os.getuid()):
        try:
            return pwd.getpwuid(uid).pw_name
        except (KeyError, OverflowError):
            continue  # nobody logged in, or somebody whom this machine has no name for
    return f"uid-{os.getuid()}"


def _logged_in_as() -> int:
    """The user id of the login; of a process that no login has led to, one that nobody has."""
    try:
        return int(LOGIN.read_text())
    except (OSError, ValueError):
        return os.getuid()
