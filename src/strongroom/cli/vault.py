"""`strongroom vault`: destroying subjects, replaying that after a restore, and rotating keys."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

from strongroom.config import KEY_FILE, ConfigurationError, Home

if TYPE_CHECKING:
    import asyncpg

    from strongroom.database import Connection
    from strongroom.log.noting import Outcome
    from strongroom.vault.kms import Kms
    from strongroom.vault.reencryption import Owners

YES: Final = "yes"
Result = TypeVar("Result")


def add_vault(add, group) -> None:  # type: ignore[no-untyped-def]
    """The parsers of `strongroom vault`."""
    vault = group("vault", "keys, and the subjects whose data they seal")
    parent = vault.add_parser("subjects", help="data subjects", description="data subjects")
    subjects = parent.add_subparsers(required=True, metavar="ACTION")
    destroy = add(subjects, "destroy", "destroy a subject's key, for good", subjects_destroy)
    destroy.add_argument("subject", help="its id, sub_… or cus_…")
    destroy.add_argument("--yes", action="store_true", help="do not ask first")
    add(vault, "replay", "destroy again what a restore brought back", replay)
    rotate = add(vault, "rotate", "a new version of a legal entity's keys", rotate_entity)
    rotate.add_argument(
        "--no-wait",
        action="store_true",
        help="leave keys that are made meanwhile under the old version to the next run",
    )
    for command in (destroy, rotate):
        command.add_argument("--entity", required=True)
    again = add(vault, "reencrypt", "all values under the newest keys", reencrypt)
    again.add_argument("--entity", help="only this legal entity's (default: all)")
    old = add(vault, "retire", "destroy older versions of a legal entity's keys, for good", retire)
    old.add_argument("--entity", required=True)
    old.add_argument("--yes", action="store_true", help="do not ask first")
    add(vault, "rotate-root", "all legal entities' keys under a new root key", rotate_root)


def subjects_destroy(options: argparse.Namespace) -> int:
    """Destroys the key of a subject, after a question unless --yes."""
    from strongroom.clock import SystemClock
    from strongroom.customers.erasing import erase
    from strongroom.log.noting import by_hand, note_of_keys, operator
    from strongroom.setup import keys_owner, payments_owner
    from strongroom.vault.destruction import destroy, journal_of

    home = Home(options.home)
    kind = "cus" if options.subject.startswith("cus_") else "sub"
    subject = _id(kind, options.subject)
    if not options.yes:
        _ask(f"Nobody will ever read again what is sealed for {options.subject}.")

    async def run() -> bool:
        at = SystemClock().now()
        async with payments_owner(home) as payments, keys_owner(home) as connection:
            entity = await _entity_named(payments, options.entity)
            tombstones = await journal_of(connection, home.tombstones(), at)
            had_key = await destroy(connection, tombstones, entity, subject, at)
            await erase(payments, entity, subject, at, operator(), by_hand())
            await note_of_keys(
                payments,
                entity,
                "data_subject.destroyed",
                at,
                data_subject=options.subject,
                had_key=had_key,
            )
        return had_key

    had_key = _run(run())
    print(f"destroyed {options.subject}" if had_key else "it had no key; its tombstone is written")
    return 0


def replay(options: argparse.Namespace) -> int:
    """Makes the journal of destroyed subjects and the database of the keys say the same."""
    from strongroom.setup import replay_tombstones

    done = _run(replay_tombstones(Home(options.home)))
    print(
        f"tombstones: {done.tombstones}, written back to the journal: {done.written_back}, "
        f"keys destroyed again: {done.keys_destroyed}"
    )
    return 0


def rotate_entity(options: argparse.Namespace) -> int:
    """Makes a new version of an entity's keys and rewraps its subjects'; goes on where it was."""
    version = _run(_rotate(Home(options.home), options.entity, waits=not options.no_wait))
    print(f"{options.entity} seals under version {version}; nothing is left under older ones")
    return 0


async def _rotate(home: Home, name: str, *, waits: bool) -> int:
    from strongroom.cli.progress import Bar
    from strongroom.vault import rotation

    async with _owners(home) as (payments, connection, kms):
        entity = await _entity_named(payments, name)
        made = await rotation.begin_rotation(connection, kms, entity)
        version, _ = await rotation.newest_version(connection, entity)
        await _note(payments, entity, "rotated", version=version, made=made is not None)
        _tell(
            f"version {version} made"
            if made is not None
            else f"going on with the rotation to version {version}"
        )
        keys = await rotation.entity_keys(connection, kms, entity)
        bar = Bar("rewrapping keys of subjects")
        done = await rotation.rewrap_subjects(connection, keys, bar)
        bar.end()
        _, age = await rotation.newest_version(connection, entity)
        seconds = rotation.SETTLE_SECONDS - age.total_seconds()
        if waits and seconds > 0:
            _tell(f"waiting {seconds:.0f} s for processes that still wrap under the version before")
            await asyncio.sleep(seconds)
            done = await rotation.rewrap_subjects(connection, keys, bar)
        left = await rotation.count_left(connection, entity, version)
    if done.refused:
        raise ConfigurationError(
            f"{done.refused} keys of subjects cannot be unwrapped: they are damaged, or stand in "
            "a row that is not theirs. They were left as they are; look for them in a backup."
        )
    if left:
        raise ConfigurationError(f"{left} keys were made under an older version: run this again.")
    return version


def rotate_root(options: argparse.Namespace) -> int:
    """Wraps all entities' keys under the newest root key; makes one first where it is a file."""
    total = _run(_rotate_root(Home(options.home)))
    print(f"versions of legal entities' keys wrapped anew: {total}")
    return 0


async def _rotate_root(home: Home) -> int:
    from strongroom.cli.progress import Bar
    from strongroom.setup import legal_entities
    from strongroom.vault import rotation
    from strongroom.vault.key_file import add_root_key
    from strongroom.vault.opening import KEY_FILE_NAME

    entities = await legal_entities(home)
    async with _owner_and_kms(home) as (connection, kms):
        left = await rotation.count_entities_left(connection, kms, entities)
    if left == 0 and home.settings().kms == KEY_FILE:
        _tell(f"root key made: {add_root_key(home.secrets / KEY_FILE_NAME)}")
    elif left:
        _tell("going on: some are not under the newest root key")
    async with _owners(home) as (payments, connection, kms):
        total = await rotation.count_entities_left(connection, kms, entities)
        bar, done = Bar("wrapping keys of legal entities"), 0
        for entity in entities:
            versions = await rotation.rewrap_entities(connection, kms, [entity])
            await _note(payments, entity, "root_rotated", versions=versions)
            done += versions
            bar(done, max(total, done))
        bar.end()
    return done


def reencrypt(options: argparse.Namespace) -> int:
    """Seals all values under the newest keys; run it again when it was stopped."""
    done, refused = _run(_reencrypt(Home(options.home), options.entity))
    print(f"values sealed anew: {done}")
    if refused:
        print("\n".join(f"left as it is: {name}" for name in refused), file=sys.stderr)
        raise ConfigurationError(
            f"{len(refused)} values were left: they were changed from outside, or another process "
            "is at them. Look at each; then run this again."
        )
    return 0


async def _reencrypt(home: Home, name: str | None) -> tuple[int, list[str]]:
    from strongroom.cli.progress import Bar
    from strongroom.clock import SystemClock
    from strongroom.setup import SEALED_KINDS, is_finished, legal_entities
    from strongroom.vault import reencryption

    if not await is_finished(home):
        raise ConfigurationError(
            "older versions may still be in use and write in the clear: run `strongroom migrate "
            "--finish` first, and start the API processes anew."
        )
    done, refused = 0, list[str]()
    async with _owners(home) as owners:
        named = None if name is None else await _entity_named(owners.payments, name)
        entities = await legal_entities(home) if named is None else [named]
        for entity in entities:
            bar = Bar("sealing values anew")
            values, left = await reencryption.reencrypt(
                owners, [entity], SEALED_KINDS, SystemClock(), bar
            )
            bar.end()
            await _note(
                owners.payments,
                entity,
                "reencrypted",
                outcome="failed" if left else "succeeded",
                values=values,
                left=len(left),
            )
            done, refused = done + values, refused + left
    return done, refused


def retire(options: argparse.Namespace) -> int:
    """Destroys the versions of an entity's keys that nothing is sealed under any more."""
    if not options.yes:
        _ask("Backups of before the last `vault reencrypt` can never be read again after this.")
    done = _run(_retire(Home(options.home), options.entity))
    print(f"versions destroyed: {done}")
    return 0


async def _retire(home: Home, name: str) -> int:
    from strongroom.setup import SEALED_KINDS
    from strongroom.vault import reencryption, rotation

    async with _owners(home) as owners:
        entity = await _entity_named(owners.payments, name)
        left = await reencryption.left(owners, entity, SEALED_KINDS)
        if left.newest > 1 and left.newest_age < rotation.RETIRE_AFTER:
            hours = (rotation.RETIRE_AFTER - left.newest_age).total_seconds() / 3600
            raise ConfigurationError(
                f"version {left.newest} is less than a day old. Until then something may be "
                f"sealed under older ones, so they stay: run this again in {hours:.1f} hours."
            )
        if not left.is_nothing:
            raise ConfigurationError(
                f"{left.values} values and {left.subject_keys} keys of subjects are under older "
                "versions: run `strongroom vault rotate` to its end and `strongroom vault "
                "reencrypt` first."
            )
        done = await rotation.retire(owners.keys, entity, left.newest)
        await _note(owners.payments, entity, "retired", before=left.newest, versions=done)
    return done


@asynccontextmanager
async def _owners(home: Home) -> "AsyncIterator[Owners]":
    from strongroom.setup import payments_owner
    from strongroom.vault.reencryption import Owners

    async with _owner_and_kms(home) as (keys, kms), payments_owner(home) as payments:
        yield Owners(payments, keys, kms)


@asynccontextmanager
async def _owner_and_kms(home: Home) -> "AsyncIterator[tuple[asyncpg.Connection, Kms]]":
    from strongroom.setup import keys_owner
    from strongroom.vault.opening import open_kms

    kms = open_kms(home, home.settings())
    try:
        async with keys_owner(home) as connection:
            yield connection, kms
    finally:
        await kms.close()


async def _entity_named(payments: "Connection", text: str) -> UUID:
    """The legal entity of this id. Raises ConfigurationError."""
    from strongroom.cli.named import entity_named  # late, as all that is not needed for --help

    return await entity_named(payments, text)


async def _note(
    payments: "Connection",
    entity: UUID,
    what: str,
    *,
    outcome: "Outcome" = "succeeded",
    **details: Any,
) -> None:
    """The event of what was done to a legal entity's keys."""
    from strongroom.clock import SystemClock
    from strongroom.log.noting import note_of_keys

    kind, now = f"encryption_key.{what}", SystemClock().now()
    await note_of_keys(payments, entity, kind, now, outcome=outcome, **details)


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    """Runs it. Raises ConfigurationError for what the vault raises."""
    from strongroom.vault.errors import KeyMissing, VaultError

    try:
        return asyncio.run(work)
    except KeyMissing:
        raise ConfigurationError("this legal entity has no keys.") from None
    except VaultError as error:
        raise ConfigurationError(f"{type(error).__name__}: {error}") from None


def _id(prefix: Any, text: str) -> UUID:
    from strongroom.cli.named import id_of  # late, as all that is not needed for --help

    return id_of(prefix, text)


def _ask(warning: str) -> None:
    """Raises ConfigurationError unless a person at a terminal says yes."""
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{warning} Nobody is there to ask: say --yes.")
    if input(f"{warning}\nType `{YES}` to go on: ").strip() != YES:
        raise ConfigurationError("nothing was done.")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
