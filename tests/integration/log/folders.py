"""Folders of a log as the product writes them, what the foreign verifier says of one, and forgery.

The forger knows the layout of tlog-tiles and nothing of the product's code: it changes files.
"""

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from strongroom.log.notes import Checkpoint, NoteKey, sign_note
from strongroom.log.tiles import TileFolder
from strongroom.log.tree import root_of
from strongroom.log.verifying import LogRefused, verify_folder
from tests.plugins.parts import FOREIGN_VERIFIER

ORIGIN: Final = "log.example/le_tailor"
BUNDLE_ENTRIES: Final = 256
LENGTH_BYTES: Final = 2
SECONDS_MAX: Final = 60


def entries_of(size: int) -> list[bytes]:
    """Entries of lengths that differ, one of them empty."""
    return [b"entry %d " % number * (number % 5) for number in range(size)]


@dataclass(frozen=True)
class Log:
    """A folder, and who signs for it."""

    path: Path
    key: NoteKey

    @property
    def checkpoint(self) -> Path:
        """What is signed for the folder now."""
        return self.path / "checkpoint"

    @property
    def files(self) -> list[Path]:
        """Each file of the folder."""
        return sorted(path for path in self.path.rglob("*") if path.is_file())

    def bundle(self, number: int, width: int = BUNDLE_ENTRIES) -> Path:
        """The file with entries number * 256 and on."""
        return self.path / "tile" / "entries" / tile_name(number, width)

    def hashes(self, level: int, number: int, width: int = BUNDLE_ENTRIES) -> Path:
        """A tile of hashes."""
        return self.path / "tile" / str(level) / tile_name(number, width)

    def kept(self, name: str) -> Path:
        """A copy of the checkpoint, as a witness or an auditor keeps it."""
        return Path(shutil.copy(self.checkpoint, self.path.parent / f"{self.path.name}.{name}"))

    def copy(self, path: Path) -> "Log":
        """The same log in another folder, to be tampered with."""
        return Log(Path(shutil.copytree(self.path, path)), self.key)


def tile_name(number: int, width: int) -> str:
    """The end of a tile's path, below a thousand tiles."""
    return f"{number:03d}" if width == BUNDLE_ENTRIES else f"{number:03d}.p/{width}"


def written(
    path: Path,
    key: NoteKey,
    entries: Sequence[bytes],
    *,
    sizes: Iterable[int] = (),
    origin: str = ORIGIN,
) -> Log:
    """The product writes the entries, and signs at each of the sizes that it passes, and at last.

    The checkpoint of size N is kept beside the folder as `kept_at` tells.
    """
    log = Log(path, key)
    folder = TileFolder(path)
    steps = sorted({0, len(entries), *(size for size in sizes if size < len(entries))})
    for before, after in pairwise([0, *steps]):
        folder.append(before, entries[before:after])
        root = root_of(after, folder.hash_of(after))
        folder.write_checkpoint(sign_note(Checkpoint(origin, after, root).text(), key))
        log.kept(str(after))
    return log


def kept_at(log: Log, size: int) -> Path:
    """The checkpoint that was kept when the log had this size."""
    return log.path.parent / f"{log.path.name}.{size}"


def split(bundle: bytes) -> list[bytes]:
    """The entries of a bundle."""
    found = []
    while bundle:
        end = LENGTH_BYTES + int.from_bytes(bundle[:LENGTH_BYTES])
        found.append(bundle[LENGTH_BYTES:end])
        bundle = bundle[end:]
    return found


def joined(entries: Iterable[bytes]) -> bytes:
    """A bundle of these entries."""
    return b"".join(len(entry).to_bytes(LENGTH_BYTES) + entry for entry in entries)


def flip(path: Path, place: int, bit: int = 0) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


@dataclass(frozen=True)
class Verdict:
    """What the foreign verifier said, in one line, and how it ended."""

    line: str
    status: int

    @property
    def accepted(self) -> bool:
        """Whether all that was asked for holds. Neither this nor a refusal is an error."""
        accepted = self.line.startswith("accepted ")
        assert self.status == (0 if accepted else 1), self
        assert accepted or self.line.startswith("refused: "), self
        return accepted

    def refuses(self, *words: str) -> bool:
        """Whether it refuses, and says this of why."""
        return not self.accepted and all(word in self.line for word in words)


def verdict(key: NoteKey, *options: str | Path, beside: Path) -> Verdict:
    """Run the foreign verifier with this key, whose public half is written beside."""
    public = beside / f"{key.verifier.key_id.hex()}.vkey"
    public.write_text(key.verifier.text() + "\n")
    done = subprocess.run(
        [FOREIGN_VERIFIER, "-key", public, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS_MAX,
    )
    (line,) = (done.stdout + done.stderr).splitlines()
    return Verdict(line, done.returncode)


def read_by_others(log: Log, *older: Path, key: NoteKey | None = None) -> Verdict:
    """What the foreign verifier says of a log, given checkpoints that were kept."""
    options = [option for file in older for option in ("-older", file)]
    return verdict(key or log.key, "-log", log.path, *options, beside=log.path.parent)


def read_by_us(log: Log, *older: Path, key: NoteKey | None = None) -> str | None:
    """Why the product refuses a log; None when it accepts it."""
    notes = [file.read_bytes() for file in older]
    try:
        verify_folder(TileFolder(log.path), (key or log.key).verifier, older=notes)
    except LogRefused as refusal:
        return str(refusal)
    return None


def read_by_both(log: Log, *older: Path, key: NoteKey | None = None) -> Verdict:
    """What the foreign verifier says of a log, once the product has said the same."""
    theirs = read_by_others(log, *older, key=key)
    ours = read_by_us(log, *older, key=key)
    assert theirs.accepted == (ours is None), (theirs, ours)
    return theirs
