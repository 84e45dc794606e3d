"""`strongroom secrets`: what is in the vault is entered here, and never shown again."""

import argparse
import asyncio
import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import asyncpg
import msgspec

from strongroom.access.api_keys import SQL as ACCESS_SQL
from strongroom.cli.named import account_of, id_of
from strongroom.clock import SystemClock, rfc3339
from strongroom.config import ConfigurationError, Home
from strongroom.database import Connection, begin
from strongroom.ids import to_text
from strongroom.log.noting import note
from strongroom.setup import owners_vault, payments_owner
from strongroom.vault.entering import (
    Enter,
    enter_with_derived,
    retire_derived,
    retire_secret,
    rotate_secret,
    set_secret,
)
from strongroom.vault.errors import VaultError
from strongroom.vault.kinds import (
    DERIVED,
    DUE_DAYS,
    SECRET_BYTES_MAX,
    SecretKind,
    checked,
    kind_of,
)
from strongroom.vault.secret import Secret
from strongroom.vault.secrets import SQL, Slot

DAY: Final = timedelta(days=1)


class Account(NamedTuple):
    """The account that a secret is for."""

    slot: Slot
    environment: str


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One version, as `secrets list` shows it."""

    owner: str
    kind: str
    version: int
    created_at: datetime
    rotate_by: datetime
    state: str
    """`in use`, `in use, to be retired`, or `retired`."""
    due_in_days: int | None
    """Of the newest version in use: days to its date, below zero when that has passed."""

    @property
    def is_due(self) -> bool:
        """Whether somebody has to see to it now."""
        return self.due_in_days is not None and self.due_in_days <= DUE_DAYS

    @property
    def mark(self) -> str:
        """What stands at the end of the line."""
        if not self.is_due or self.due_in_days is None:
            return ""
        if self.due_in_days < 0:
            return f"  overdue by {-self.due_in_days} days"
        return f"  due in {self.due_in_days} days"


def secrets_list(options: argparse.Namespace) -> int:
    """Prints which secrets there are, never what they are; with --due, 1 when one is due."""
    lines = asyncio.run(_lines(Home(options.home), SystemClock().now()))
    if options.due:
        lines = [line for line in lines if line.is_due]
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(lines)).decode())
    else:
        for line in lines:
            print(
                f"{line.owner}  {line.kind}  version {line.version}  "
                f"entered {line.created_at:%Y-%m-%d}  rotate by {line.rotate_by:%Y-%m-%d}  "
                f"{line.state}{line.mark}"
            )
    return 1 if options.due and lines else 0


def secrets_set(options: argparse.Namespace) -> int:
    """Makes the first version of a secret."""
    return _enter(options, set_secret, "set")


def secrets_rotate(options: argparse.Namespace) -> int:
    """Puts a version beside the one in use; both are, until the older one is retired."""
    return _enter(options, rotate_secret, "rotated")


def secrets_retire(options: argparse.Namespace) -> int:
    """Ends a version; what it was is gone."""
    home, kind = Home(options.home), kind_of(options.kind)

    async def run() -> int:
        async with owners_vault(home) as (connection, _):
            account = await _account(connection, options.owner, kind)
            await begin(connection, [account.slot.legal_entity_id])
            now = SystemClock().now()
            version = await retire_secret(
                connection, account.slot, options.version, now, last_too=options.force
            )
            await retire_derived(connection, account.slot, version, now)
            await _note(connection, account.slot, "retired", version, now)
            await connection.execute("COMMIT")
        return version

    print(f"version {asyncio.run(run())} of {kind.name} is retired; workers drop it in 5 seconds")
    return 0


def entered(
    kind: SecretKind, environment: str, file: Path | None, *, option: str = "--file"
) -> Secret:
    """The secret from its file, or from who sits at the terminal. Raises ConfigurationError."""
    if file is not None:
        if file.stat().st_mode & 0o077:
            raise ConfigurationError(f"{file} can be read by others: run `chmod 600 {file}`.")
        with file.open("rb") as stream:
            return checked(kind, environment, Secret(stream.read(SECRET_BYTES_MAX + 2).strip()))
    if not sys.stdin.isatty():
        raise ConfigurationError(f"nobody is there to type it: give a file by {option}.")
    return checked(kind, environment, Secret(getpass.getpass(f"{kind.name}: ").strip()))


@contextmanager
def vault_at_hand() -> Iterator[None]:
    """Raises ConfigurationError where the keys cannot be had."""
    try:
        yield
    except VaultError as error:
        raise ConfigurationError(
            f"the keys of the vault cannot be had: {type(error).__name__}. Nothing was changed."
        ) from error


def _enter(options: argparse.Namespace, enter: Enter, done: str) -> int:
    if options.argument:
        raise ConfigurationError(
            "a secret is never an argument: it stands in the shell's history now, and others saw "
            "it in the list of processes. Roll it at the gateway, and enter the new one."
        )
    home, kind = Home(options.home), kind_of(options.kind)
    source = next((name for name, made in DERIVED.items() if made == kind.name), None)
    if source is not None:  # else one could outlive what it is made of
        raise ConfigurationError(f"a {kind.name} is made of {source}: enter those.")

    async def run() -> int:
        async with owners_vault(home) as (connection, keyring):
            account = await _account(connection, options.owner, kind)
            secret = entered(kind, account.environment, options.file)
            entity = account.slot.legal_entity_id
            keys = await keyring.entity(entity)
            await begin(connection, [entity])
            at = SystemClock().now()
            version = await enter_with_derived(enter, connection, keys, account.slot, secret, at)
            await _note(connection, account.slot, done, version, at)
            await connection.execute("COMMIT")
        return version

    with vault_at_hand():
        version = asyncio.run(run())
    by = SystemClock().now() + kind.lives
    print(f"version {version} of {kind.name} is in the vault; rotate it by {by:%Y-%m-%d}")
    if options.file is not None:
        print(f"delete {options.file}: nothing reads it any more")
    return 0


async def _account(connection: Connection, owner: str, kind: SecretKind) -> Account:
    """The account that is meant. Raises ConfigurationError."""
    if kind.owner != "gwa":
        raise ConfigurationError(f"a {kind.name} is made and ended by `strongroom endpoints`.")
    row = await account_of(connection, id_of("gwa", owner), what := f"account at {kind.gateway}")
    if row["gateway"] != kind.gateway:
        raise ConfigurationError(f"there is no such {what}.")
    slot = Slot(row["legal_entity_id"], row["gateway_account_id"], kind.name)
    return Account(slot, row["environment"])


async def _note(connection: Connection, slot: Slot, done: str, version: int, at: datetime) -> None:
    """The event that says what was done to a version: which one it is, never what."""
    entity, kind = slot.legal_entity_id, f"gateway_account.secret_{done}"
    await note(
        connection, entity, slot.owner_id, kind, at, secret=slot.kind, secret_version=version
    )


async def _lines(home: Home, now: datetime) -> list[Line]:
    async with payments_owner(home) as connection:
        entities = [
            row["legal_entity_id"] for row in await connection.fetch(ACCESS_SQL["entities"])
        ]
        await begin(connection, entities, read_only=True)
        rows = await connection.fetch(SQL["list_secrets"], entities)
    newest = {
        (row["owner_id"], row["kind"]): row["version"] for row in rows if row["retired_at"] is None
    }
    return [_line(row, newest.get((row["owner_id"], row["kind"])), now) for row in rows]


def _line(row: asyncpg.Record, newest: int | None, now: datetime) -> Line:
    state, due_in_days = "in use", None
    if row["retired_at"] is not None:
        state = f"retired {rfc3339(row['retired_at'])[:10]}"
    elif row["version"] != newest:
        state = "in use, to be retired"
    else:
        due_in_days = (row["rotate_by"] - now) // DAY
    return Line(
        owner=to_text(kind_of(row["kind"]).owner, row["owner_id"]),
        kind=row["kind"],
        version=row["version"],
        created_at=row["created_at"],
        rotate_by=row["rotate_by"],
        state=state,
        due_in_days=due_in_days,
    )
