"""`strongroom export references`: our ids and those of gateways, for whoever goes on without us."""

import argparse
import asyncio
import csv
import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO
from uuid import UUID

import msgspec

from strongroom.cli.named import entity_named
from strongroom.cli.progress import Bar
from strongroom.config import Home
from strongroom.database import begin
from strongroom.gateways.accounts import SQL as ACCOUNTS_SQL
from strongroom.gateways.references import Reference, number_of_references, references
from strongroom.setup import payments_owner

Write = Callable[[Reference], None]


def export_references(options: argparse.Namespace) -> int:
    """Writes a line for each, to a file or as output; stderr shows how far it is."""
    with opened_whole(options.file) as out:
        number = asyncio.run(_export(Home(options.home), options.entity, _writer(options, out)))
    print(f"{number} references", file=sys.stderr)
    return 0


async def _export(home: Home, entity_text: str | None, write: Write) -> int:
    written, bar = 0, Bar("references")
    async with payments_owner(home) as connection:
        entity: UUID = await entity_named(connection, entity_text)
        await begin(connection, [entity], read_only=True)
        rows = await connection.fetch(ACCOUNTS_SQL["accounts_of"], entity)
        await connection.execute("ROLLBACK")
        gateways = {row["gateway_account_id"]: row["gateway"] for row in rows}
        total = await number_of_references(connection, entity)
        async for page in references(connection, entity, gateways):
            for one in page:
                write(one)
            written += len(page)
            bar(written, max(total, written))
    bar.end()
    return written


def _writer(options: argparse.Namespace, out: TextIO) -> Write:
    if options.format == "ndjson":
        return lambda one: print(msgspec.json.encode(one).decode(), file=out)
    lines = csv.DictWriter(out, Reference.__struct_fields__, lineterminator="\n")
    lines.writeheader()
    return lambda one: lines.writerow(msgspec.structs.asdict(one))


@contextmanager
def opened_whole(file: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that only its owner reads, and that is there once it is whole."""
    if file is None:
        yield sys.stdout
        return
    if file.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if file.exists() and not file.is_file():  # a device or a pipe, which no file may replace
        with file.open("w", encoding="utf-8", newline="") as out:
            yield out
        return
    # What is written to is new, whoever else may write in that folder.
    part = file.with_name(f".{file.name}.{os.urandom(8).hex()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as out:
            yield out
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
