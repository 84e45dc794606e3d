"""A log as files that anybody can serve, copy and check: C2SP's tlog-tiles in a folder.

    checkpoint                     the newest signed note
    tile/entries/x001/234          256 entries, each after its length: two bytes, high one first
    tile/entries/x001/235.p/44     the last 44, while there are no more
    tile/0/x001/234                the 256 leaf hashes of those entries
    tile/1/004                     256 roots of tiles of level 0; and so on upwards

What is there is never written again with other bytes. A partial file goes when its full one is on
disk, which then answers for it.
"""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from shutil import rmtree
from typing import Final

from msgspec import Struct

from strongroom.errors import InvariantBroken
from strongroom.log.notes import NOTE_BYTES_MAX
from strongroom.log.tree import HASH_BYTES, SIZE_MAX, HashOf, leaf_hash, parents

TILE_LEVELS: Final = 8
"""Levels of the tree that a tile spans."""
TILE_WIDTH: Final = 256
ENTRY_BYTES_MAX: Final = 65_535
LENGTH_BYTES: Final = 2
BUNDLE_BYTES_MAX: Final = TILE_WIDTH * (LENGTH_BYTES + ENTRY_BYTES_MAX)
TILE_BYTES: Final = TILE_WIDTH * HASH_BYTES
BATCH_ENTRIES: Final = 64 * TILE_WIDTH
"""Entries whose files are made in memory and put on disk together."""
TILES_KEPT: Final = 256
"""Tiles that a reader of hashes remembers."""
WIDTH: Final = re.compile("[1-9][0-9]{0,2}")
TILE_PATH: Final = (
    r"(entries|[0-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/){0,5}[0-9]{3})"
    r"(?:\.p/(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9][0-9]?))?"
)
"""What follows `tile/` in a name; so many digits hold any log's tiles."""
_TILE_PATH: Final = re.compile(TILE_PATH)
ENTRIES: Final = "entries"
CHECKPOINT: Final = "checkpoint"
PUBLIC_KEY: Final = "key"
"""Who signs, for who has it from somewhere else too: from here alone it proves nothing."""


class TilesRefused(Exception):
    """Files of a log that are missing, malformed or different from what they should be."""


class TilesMissing(TilesRefused):
    """A file of a log is not there."""


def tile_name(level: int | str, number: int, width: int = TILE_WIDTH) -> str:
    """Where a tile lies, or with `entries` as its level a bundle: `tile/0/x001/234.p/44`."""
    digits = f"{number:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return f"tile/{level}/{path}" + (f".p/{width}" if width < TILE_WIDTH else "")


def read_tile_name(text: str) -> tuple[int | str, int, int] | None:
    """Level (or `entries`), number and width of a tile, by its name without the `tile/`.

    None for every text that `tile_name` never makes.
    """
    found = _TILE_PATH.fullmatch(text)
    if found is None:
        return None
    level, number, width = found.groups()
    tile = (
        level if level == ENTRIES else int(level),
        int(number.replace("/", "").replace("x", "")),
        TILE_WIDTH if width is None else int(width),
    )
    return tile if tile_name(*tile) == f"tile/{text}" else None


def tile_roots(hashes: Sequence[bytes]) -> list[bytes]:
    """The root of each full tile among these hashes, which fill whole tiles."""
    row: Sequence[bytes] = hashes
    for _ in range(TILE_LEVELS):
        row = parents(row)
    return list(row)


class Bundle(Struct, frozen=True):
    """What a file of entries holds, and how many its name says it holds."""

    name: str
    width: int
    entries: list[bytes]


def split_bundle(bundle: bytes) -> list[bytes]:
    """The entries of a bundle; what follows the first 257 is left.

    Raises TilesRefused for one that ends within an entry.
    """
    entries: list[bytes] = []
    at, end = 0, len(bundle)
    while at < end and len(entries) <= TILE_WIDTH:
        start = at + LENGTH_BYTES
        at = start + int.from_bytes(bundle[at:start], "big")
        entries.append(bundle[start:at])
    if at > end:
        raise TilesRefused("ends within an entry")
    return entries


def join_bundle(entries: Sequence[bytes]) -> bytes:
    """The bundle of these entries."""
    return b"".join([len(entry).to_bytes(LENGTH_BYTES, "big") + entry for entry in entries])


class TileFolder:
    """The folder of one log. One process at a time appends to it; any number read it."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path

    def append(self, size_before: int, entries: Sequence[bytes]) -> None:
        """Writes what these entries fill after the first `size_before`; they are on disk then.

        The same may be said again, also after a crash in between. Raises TilesRefused when the
        entries before are not there, and when a file is there with other bytes.
        """
        if not 0 <= size_before <= SIZE_MAX - len(entries):
            raise InvariantBroken("no log has this size")
        if any(len(entry) > ENTRY_BYTES_MAX for entry in entries):
            raise InvariantBroken(f"an entry has at most {ENTRY_BYTES_MAX} bytes")
        at = 0
        while at < len(entries):
            # Batches end where a tile ends, so that only the last one leaves partial files.
            end = at + BATCH_ENTRIES - (size_before + at) % TILE_WIDTH
            self._append(size_before + at, entries[at:end])
            at = end

    def write_checkpoint(self, note: bytes) -> None:
        """Puts this note in the place of the checkpoint; readers see the old one or this one."""
        if len(note) > NOTE_BYTES_MAX:
            raise InvariantBroken(f"a checkpoint has at most {NOTE_BYTES_MAX} bytes")
        self._publish({CHECKPOINT: note})

    def checkpoint(self) -> bytes | None:
        """The newest signed note, not yet checked in any way."""
        return self._content(CHECKPOINT, NOTE_BYTES_MAX)

    def hash_of(self, size: int) -> HashOf:
        """Hashes of complete subtrees of the tree over the first `size` entries, from the tiles.

        What it returns raises TilesRefused for a tile that is missing or malformed, and
        InvariantBroken for a subtree that is not complete.
        """
        kept: dict[tuple[int, int], bytes] = {}

        def read(level: int, number: int) -> bytes:
            width = min(TILE_WIDTH, (size >> TILE_LEVELS * level) - number * TILE_WIDTH)
            if (level, number) not in kept:
                if len(kept) >= TILES_KEPT:
                    kept.clear()
                kept[level, number] = self.tile(level, number, width)
            return kept[level, number]

        def hash_at(level: int, index: int) -> bytes:
            if level < 0 or index < 0 or (index + 1) << level > size:
                raise InvariantBroken("no such subtree is complete")
            tile_level, inside = divmod(level, TILE_LEVELS)
            number, at = divmod(index << inside, TILE_WIDTH)
            part = read(tile_level, number)[at * HASH_BYTES : (at + (1 << inside)) * HASH_BYTES]
            row = hashes_in(part)
            while len(row) > 1:
                row = parents(row)
            return row[0]

        return hash_at

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """The entries from `start` up to, not including, `end`. Raises TilesRefused."""
        while start < end:
            number, at = divmod(start, TILE_WIDTH)
            width = min(TILE_WIDTH, end - number * TILE_WIDTH)
            bundle = self.bundle(number, width)
            if len(bundle.entries) != bundle.width:
                raise TilesRefused(f"{bundle.name} has not as many entries as its name says")
            yield from bundle.entries[at:width]
            start = number * TILE_WIDTH + width

    def tile(self, level: int, number: int, width: int) -> bytes:
        """The first `width` hashes of a tile, one after the other.

        Raises TilesMissing, and TilesRefused for a file of another length than its name says.
        """

        name, there, found = self._first(level, number, width, TILE_BYTES)
        if len(found) != there * HASH_BYTES:
            raise TilesRefused(f"{name} has not as many hashes as its name says")
        return found[: width * HASH_BYTES]

    def bundle(self, number: int, width: int) -> Bundle:
        """The bundle that has the first `width` entries of this number, and maybe more.

        Raises TilesMissing, and TilesRefused for one that ends within an entry. Whether it has as
        many entries as its name says is for the caller to look at.
        """
        name, there, found = self._first(ENTRIES, number, width, BUNDLE_BYTES_MAX)
        try:
            return Bundle(name, there, split_bundle(found))
        except TilesRefused as problem:
            raise TilesRefused(f"{name} {problem}") from None

    def has_bundle(self, number: int, width: int) -> bool:
        """Whether there is a file for this bundle, of this width or full."""
        return any(
            (self.path / tile_name(ENTRIES, number, there)).exists()
            for there in {width, TILE_WIDTH}
        )

    def _append(self, size: int, entries: Sequence[bytes]) -> None:
        number, width = divmod(size, TILE_WIDTH)
        before = list(self.entries(size - width, size))
        row = [leaf_hash(entry) for entry in entries]
        if before and b"".join(map(leaf_hash, before)) != self.tile(0, number, width):
            raise TilesRefused(f"{tile_name(ENTRIES, number, width)} differs from its tile")
        files: dict[str, bytes] = {}
        for at, part in _sliced([*before, *entries]):
            files[tile_name(ENTRIES, number + at, len(part))] = join_bundle(part)
        level = 0
        while row:
            number, width = divmod(size, TILE_WIDTH)
            if width:
                row = hashes_in(self.tile(level, number, width)) + row
            for at, part in _sliced(row):
                files[tile_name(level, number + at, len(part))] = b"".join(part)
            row = tile_roots(row[: len(row) // TILE_WIDTH * TILE_WIDTH])
            size, level = number, level + 1
        self._publish({name: files[name] for name in files if not self._has(name, files[name])})
        for name in files:
            if ".p/" not in name:
                rmtree(self.path / f"{name}.p", ignore_errors=True)

    def _has(self, name: str, content: bytes) -> bool:
        """Whether the file is there, or a full one that begins so. Raises TilesRefused for others.

        An entry's length stands before it, so a bundle that begins so has the same entries.
        """
        there = self._content(name, BUNDLE_BYTES_MAX)
        if there is None and ".p/" in name:
            full = self._content(name.partition(".p/")[0], BUNDLE_BYTES_MAX)
            there = None if full is None else full[: len(content)]
        if there is not None and there != content:
            raise TilesRefused(f"{name} is there already, with other content")
        return there is not None

    def _first(
        self, level: int | str, number: int, width: int, bytes_max: int
    ) -> tuple[str, int, bytes]:
        """Name, width and content of the file of this width; else the full one; else a wider one.

        Raises TilesMissing.
        """
        for there in chain((width, TILE_WIDTH), self._wider(level, number, width)):
            name = tile_name(level, number, there)
            found = self._content(name, bytes_max)
            if found is not None:
                return name, there, found
        raise TilesMissing(f"{tile_name(level, number, width)} is missing")

    def _wider(self, level: int | str, number: int, width: int) -> Iterator[int]:
        """Widths of partial files that are wider; looked for only when they are needed."""
        try:
            files = list((self.path / f"{tile_name(level, number)}.p").iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return
        widths = (int(file.name) for file in files if WIDTH.fullmatch(file.name))
        yield from sorted(each for each in widths if width < each < TILE_WIDTH)

    def _content(self, name: str, bytes_max: int) -> bytes | None:
        """A file's bytes, None if there is none. Raises TilesRefused for a longer one."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            handle = os.open(f"{self.path}/{name}", flags)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return content_of(handle, name, bytes_max)
        finally:
            os.close(handle)

    def _publish(self, files: dict[str, bytes]) -> None:
        """Puts files in their places, each whole and on disk, in this order."""
        changed: dict[Path, None] = {}
        temporaries: list[tuple[Path, Path]] = []
        try:
            for name, content in files.items():
                file = self.path / name
                _make_folder(file.parent, changed)
                temporary = file.with_name(f".{file.name}.{os.getpid()}")
                temporaries.append((temporary, file))
                _write(temporary, content)
            for temporary, _ in temporaries:  # after all are written: one wait brings most of them
                sync(temporary)
            for temporary, file in temporaries:
                temporary.rename(file)
                changed[file.parent] = None
        finally:
            for temporary, _ in temporaries:
                with suppress(FileNotFoundError):
                    temporary.unlink()
        for folder in changed:
            sync(folder)


def content_of(handle: int, name: str, bytes_max: int) -> bytes:
    """All of an open file. Raises TilesRefused for what is no plain file, or a longer one.

    A read may give less than there is, as from a mount; what ends before its length is refused.
    """
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode) or status.st_size > bytes_max:
        raise TilesRefused(f"{name} is no file, or longer than it can be")
    content = b""
    while len(content) < status.st_size:
        part = os.read(handle, status.st_size - len(content))
        if not part:
            raise TilesRefused(f"{name} ends before its length")
        content += part
    return content


def hashes_in(tile: bytes) -> list[bytes]:
    """The hashes of a tile, or of a part of it."""
    return [tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]


def _sliced(row: Sequence[bytes]) -> Iterator[tuple[int, Sequence[bytes]]]:
    for at in range(0, len(row), TILE_WIDTH):
        yield at // TILE_WIDTH, row[at : at + TILE_WIDTH]


def _make_folder(folder: Path, changed: dict[Path, None]) -> None:
    """Makes the folder and those above it; notes in whose list of names it is new."""
    if folder.is_dir():
        return
    _make_folder(folder.parent, changed)
    folder.mkdir(exist_ok=True)
    changed[folder.parent] = None


def _write(file: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(file, flags, 0o644), "wb") as stream:
        stream.write(content)


def sync(path: Path) -> None:
    """Waits until a file's content, or a folder's list of names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
