"""`strongroom prove` and `strongroom verify --rows`: what needs the home and its database."""

import argparse
import asyncio
import sys
from pathlib import Path
from uuid import UUID

from strongroom.cli.export import opened_whole
from strongroom.cli.named import entity_named, entity_of
from strongroom.cli.reading import reader
from strongroom.cli.verifying import LateBar, read_verifier
from strongroom.clock import SystemClock
from strongroom.config import ConfigurationError, Home
from strongroom.database import reading, statements
from strongroom.ids import MalformedId, from_any_text
from strongroom.log.comparing import Compared, Comparing
from strongroom.log.epochs import name_of, newest_epoch
from strongroom.log.notes import NoteVerifier, to_base64
from strongroom.log.proofs import make_proof
from strongroom.log.tiles import CHECKPOINT, PUBLIC_KEY, TileFolder, TilesRefused
from strongroom.log.verifying import LogRefused, Verified, verify_folder

SQL = statements("strongroom.log", "log.sql")
COUNTED = {
    "payment": "payments",
    "refund": "refunds",
    "dispute": "disputes",
    "payout": "payouts",
    "customer": "customers",
    "payment_method": "saved",
    "tax_calculation": "taxes",
}
"""What the rows of a family are called in a line."""


def prove(options: argparse.Namespace) -> int:
    """Writes the proof of one subject's events, and says where."""
    home = Home(options.home)
    try:
        identifier = from_any_text(options.id)
    except MalformedId as error:
        raise ConfigurationError(f"this is {error}.") from None

    async def read() -> tuple[UUID, list[tuple[int, bytes]]]:
        async with reader(home) as pool:
            async with pool.acquire() as connection:
                entity = await entity_of(connection, identifier)
            async with reading(pool, [entity]) as connection:
                rows = await connection.fetch(SQL["entries_of"], entity, identifier)
        return entity, [(row["index"], row["entry"]) for row in rows]

    entity, entries = asyncio.run(read())
    if not entries:
        raise ConfigurationError("the log says nothing of it, or not yet.")
    folder, verifier = log_of(home, entity, options.key)
    try:
        content = make_proof(options.id, folder, entries, verifier)
    except LogRefused as refusal:
        print(f"strongroom: {refusal}", file=sys.stderr)
        return 1
    out = options.out or Path(f"{options.id}.proof.json")
    with opened_whole(out) as file:
        file.write(content.decode())
    print(f"{out}: {len(entries)} events, {len(content)} bytes")
    print(f"check it by: strongroom verify --proof {out} --key {folder.path / PUBLIC_KEY}")
    return 0


def verify_rows(options: argparse.Namespace) -> int:
    """Checks a log of the home, then whether the database agrees with it; 1 where it does not."""
    home = Home(options.home)

    async def run() -> tuple[Verified, Compared]:
        async with reader(home) as pool:
            async with pool.acquire() as connection:
                entity = await entity_named(connection, options.entity)
            folder, verifier = log_of(home, entity, options.key)
            progress = LateBar()
            try:
                verified = verify_folder(folder, verifier, progress=progress)
            finally:
                progress.end()
            comparing = Comparing(pool, entity, SystemClock().now())
            progress = LateBar()
            try:
                return verified, await comparing.compare(
                    folder.entries(0, verified.size), lambda done: progress(done, verified.size)
                )
            finally:
                progress.end()

    try:
        verified, compared = asyncio.run(run())
    except (LogRefused, TilesRefused) as refusal:
        print(f"strongroom: {refusal}", file=sys.stderr)
        return 1
    print(f"origin    {verified.origin}\nsize      {verified.size}")
    print(f"root      {to_base64(verified.root)}")
    print(f"events    {compared.events} agree or are named below, {compared.waiting} to be signed")
    for family, count in compared.rows.items():
        print(f"{COUNTED[family]:<9} {count}")
    for problem in compared.problems:
        print(f"strongroom: {problem}", file=sys.stderr)
    return 1 if compared.problems else 0


def log_of(home: Home, entity: UUID, key: Path | None) -> tuple[TileFolder, NoteVerifier]:
    """The newest epoch that was signed. Raises ConfigurationError where there is none."""
    logs = home.logs
    epoch = newest_epoch(logs, entity, lambda folder: (folder / CHECKPOINT).exists())
    path = logs / name_of(entity, epoch)
    if not (path / PUBLIC_KEY).exists():
        raise ConfigurationError(f"{path} holds no log yet: does the signer run?")
    return TileFolder(path), read_verifier(key or path / PUBLIC_KEY)
