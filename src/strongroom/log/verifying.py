"""What an auditor does with a copy of a log and a public key: no network, no database, no trust.

`verify_folder` reads every entry and computes every hash anew; `verify_proof` checks one entry by
itself, by the text of C2SP's tlog-proof. Both say in a sentence what does not hold.

A log that was cut, or rewritten and signed anew by whoever holds its key, is whole in itself: only
a checkpoint that was kept elsewhere shows it. That is what `older` is for.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

from msgspec import Struct

from strongroom.log.entries import FORMAT
from strongroom.log.epochs import (
    OPENED,
    Opened,
    is_opened,
    opened_by,
    signer_of,
    split_origin,
    told,
    why_lost,
)
from strongroom.log.notes import (
    NOTE_BYTES_MAX,
    SIZE,
    Checkpoint,
    NoteRefused,
    NoteVerifier,
    from_base64,
    open_note,
    to_base64,
)
from strongroom.log.tiles import (
    ENTRY_BYTES_MAX,
    TILE_LEVELS,
    TILE_WIDTH,
    Bundle,
    TileFolder,
    TilesMissing,
    TilesRefused,
    hashes_in,
    tile_name,
    tile_roots,
)
from strongroom.log.tree import (
    HASH_BYTES,
    LEAF,
    NO_LEAVES,
    PROOF_HASHES_MAX,
    Frontier,
    inclusion_proof,
    leaf_hash,
    verify_inclusion,
)

PROOF_FORMAT: Final = "c2sp.org/tlog-proof@v1"
EXTRA_BYTES_MAX: Final = 65_536
HEADER_BYTES_MAX: Final = EXTRA_BYTES_MAX * 4 // 3 + PROOF_HASHES_MAX * 45 + 128
PROOF_BYTES_MAX: Final = HEADER_BYTES_MAX + NOTE_BYTES_MAX
OLDER_MAX: Final = 10_000
TILES_PER_PROGRESS: Final = 64
OPENS: Final = f"{FORMAT} {OPENED} ".encode()
"""How an entry begins that opens an epoch."""

Progress = Callable[[int, int], None]
"""Hears how many entries of how many are checked."""


class LogRefused(Exception):
    """A log, or a proof of one, that does not hold; the message is a sentence that says why."""


class Verified(Struct, frozen=True):
    """A log that holds: whose it is, how many entries it has, and their root.

    `lost` has a sentence for each older checkpoint of an epoch before whose entries it lost,
    `opened` one for each entry that opened an epoch.
    """

    origin: str
    size: int
    root: bytes
    lost: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()


def verify_folder(
    folder: TileFolder,
    verifier: NoteVerifier,
    *,
    older: Sequence[bytes] = (),
    progress: Progress | None = None,
) -> Verified:
    """Checks all that a folder says, and that it begins as each `older` note said it did.

    An older one may be of an epoch before: what was lost since is told, where the log itself does.
    Files of entries after those of the checkpoint are not looked at. Raises LogRefused.
    """
    if len(older) > OLDER_MAX:
        raise LogRefused(f"At most {OLDER_MAX} older checkpoints can be given.")
    note = _read_checkpoint(folder)
    now = _opened(note, verifier, "The checkpoint")
    before = [
        _opened(note, signer_of(note, verifier), f"Older checkpoint {number}")
        for number, note in enumerate(older, 1)
    ]
    for seen in before:
        if seen.size > now.size and seen.origin == now.origin:
            raise LogRefused(
                f"The tail is cut: an older checkpoint has {seen.size} entries, the log has "
                f"{now.size} now."
            )
    reading = _Reading(folder, now, before)
    try:
        root = reading.root(progress)
    except TilesRefused as problem:
        raise LogRefused(f"The file {problem}.") from None
    if root != now.root:
        raise LogRefused(
            f"The {now.size} entries and their tiles fit each other, but their root is not the one "
            "that the checkpoint was signed for: entries were changed, or the checkpoint is of "
            "other ones."
        )
    lost = tuple(map(reading.why_lost, reading.lost))
    return Verified(now.origin, now.size, root, lost, reading.told_openings())


class _Reading:
    """One pass over all entries of a folder, which keeps only the right edge of each level."""

    def __init__(self, folder: TileFolder, now: Checkpoint, older: Sequence[Checkpoint]) -> None:
        self._folder: Final = folder
        self._now: Final = now
        self._older: Final = sorted(older, key=lambda seen: seen.size, reverse=True)
        self._full = NO_LEAVES  # over the roots of full tiles of leaves
        self._rows: list[list[bytes]] = []  # of each level above, what no full tile has yet
        self._openings: list[tuple[int, Opened]] = []
        self.lost: list[Checkpoint] = []
        """Of epochs before, what the log does not begin with."""

    def root(self, progress: Progress | None) -> bytes:
        """The root over all entries. Raises LogRefused, TilesRefused."""
        size = self._now.size
        leaves: list[bytes] = []
        self._look_back(0, leaves)
        for start in range(0, size, TILE_WIDTH):
            number, width = start // TILE_WIDTH, min(TILE_WIDTH, size - start)
            leaves = self._leaves(number, width)
            self._look_back(start, leaves)
            if width == TILE_WIDTH:
                self._add(tile_roots(leaves))
                leaves = []
            if progress is not None and number % TILES_PER_PROGRESS == 0:
                progress(start, size)
        for level, row in enumerate(self._rows, 1):
            if row:
                self._compare(level, size >> TILE_LEVELS * (level + 1), row)
        self.lost.extend(self._older)
        if progress is not None:
            progress(size, size)
        return self._frontier(leaves).root()

    def _frontier(self, leaves: Sequence[bytes]) -> Frontier:
        """The right edge after the full tiles and these leaves of the next one."""
        rest = NO_LEAVES.extended(leaves)
        return Frontier(
            self._full.size * TILE_WIDTH + rest.size, (*self._full.hashes, *rest.hashes)
        )

    def _leaves(self, number: int, width: int) -> list[bytes]:
        """The leaf hashes of a bundle, which are those that its tile has."""
        try:
            bundle = self._folder.bundle(number, width)
        except TilesMissing as problem:
            raise LogRefused(self._missing(number, str(problem))) from None
        leaves = [sha256(LEAF + entry).digest() for entry in bundle.entries]
        tile = self._folder.tile(0, number, width)
        if len(leaves) != bundle.width:
            raise LogRefused(_miscounted(bundle, number, leaves, tile))
        del leaves[width:]
        for at, entry in enumerate(bundle.entries[:width]):
            if entry.startswith(OPENS) and (opened := opened_by(entry)) is not None:
                self._openings.append((number * TILE_WIDTH + at, opened))
        if b"".join(leaves) != tile:
            raise LogRefused(self._differs(number, leaves, hashes_in(tile)))
        return leaves

    def _add(self, roots: Sequence[bytes]) -> None:
        """Takes the root of a full tile into the levels above, whose full tiles are compared."""
        self._full = self._full.extended(roots)
        level = 1
        while roots:
            if len(self._rows) < level:
                self._rows.append([])
            row = self._rows[level - 1]
            row.extend(roots)
            if len(row) < TILE_WIDTH:
                return
            number = (self._full.size >> TILE_LEVELS * level) - 1
            self._compare(level, number, row)
            roots = tile_roots(row)
            row.clear()
            level += 1

    def _compare(self, level: int, number: int, row: Sequence[bytes]) -> None:
        tile = self._folder.tile(level, number, len(row))
        if tile != b"".join(row):
            at = _first_difference(row, hashes_in(tile))
            below = TILE_WIDTH**level
            first = (number * TILE_WIDTH + at) * below
            raise LogRefused(
                f"Hash {at} of the tile {tile_name(level, number, len(row))} is not the one that "
                f"the entries {first} to {first + below - 1} make: it was changed, or one of them "
                "was and its own tile with it."
            )

    def _look_back(self, start: int, leaves: Sequence[bytes]) -> None:
        """Whether the log begins as older checkpoints said that end among these leaves."""
        while self._older and self._older[-1].size - start <= len(leaves):
            seen = self._older.pop()
            if self._frontier(leaves[: seen.size - start]).root() == seen.root:
                continue
            if seen.origin != self._now.origin:
                self.lost.append(seen)
            else:
                raise LogRefused(
                    f"The log does not begin as an older checkpoint of {seen.size} entries says: "
                    "among those entries something was rewritten since."
                )

    def told_openings(self) -> tuple[str, ...]:
        """What the log says of its epochs. Raises LogRefused where nothing opened the newest."""
        epoch = split_origin(self._now.origin)[1]
        if not is_opened(epoch, self._openings):
            raise LogRefused(
                f"The checkpoint is of epoch {epoch}, and no entry opened that: whoever has the "
                "key began it without a word."
            )
        return told(self._openings)

    def why_lost(self, seen: Checkpoint) -> str:
        """What the log itself says of entries that are not in it. Raises LogRefused."""
        found = why_lost(seen, self._openings)
        if found is None:
            raise LogRefused(
                f"The log does not begin as a checkpoint of {seen.size} entries of an epoch before "
                "says, and no entry of it says why: it was rewritten."
            )
        return found

    def _missing(self, number: int, problem: str) -> str:
        size, start = self._now.size, number * TILE_WIDTH
        last = (size - 1) // TILE_WIDTH
        if number < last and self._folder.has_bundle(last, size - last * TILE_WIDTH):
            end = min(size, start + TILE_WIDTH) - 1
            return f"There is a gap: {problem}, which has the entries {start} to {end}."
        return (
            f"The tail is cut: the checkpoint has {size} entries, but {problem}, where entry "
            f"{start} is."
        )

    def _differs(self, number: int, leaves: Sequence[bytes], tile: Sequence[bytes]) -> str:
        """Says which of an entry and its hash in the tile was changed, by what stands above."""
        at = _first_difference(leaves, tile)
        name, entry = tile_name(0, number, len(leaves)), number * TILE_WIDTH + at
        if self._stands(number, leaves):
            return (
                f"The tile {name} differs from its entries: its hash of entry {entry} was changed."
            )
        if sorted(leaves) == sorted(tile):
            other = number * TILE_WIDTH + list(leaves).index(tile[at])
            return (
                f"Entry {entry} is in the wrong place: by the tile {name}, entry {other} belongs "
                "there; their order was changed."
            )
        if self._stands(number, tile):
            return f"Entry {entry} was changed: it is not the one that the tile {name} has."
        return (
            f"Entry {entry} and its hash in the tile {name} differ: one of them, or both, were "
            "changed."
        )

    def _stands(self, number: int, hashes: Sequence[bytes]) -> bool:
        """Whether these are the hashes of a tile of leaves, by the tile above or by the root."""
        if len(hashes) < TILE_WIDTH:
            return self._frontier(hashes).root() == self._now.root
        above, at = divmod(number, TILE_WIDTH)
        width = min(TILE_WIDTH, (self._now.size >> TILE_LEVELS) - above * TILE_WIDTH)
        try:
            tile = self._folder.tile(1, above, width)
        except TilesRefused:
            return False
        return tile[at * HASH_BYTES : (at + 1) * HASH_BYTES] == tile_roots(hashes)[0]


def prove(
    folder: TileFolder, index: int, verifier: NoteVerifier, note: bytes | None = None
) -> bytes:
    """What proves to who knows the verifier that an entry is in the log, as C2SP's tlog-proof.

    It proves that when it is made, under `note` or the newest checkpoint. Raises LogRefused.
    """
    note = note or _read_checkpoint(folder)
    checkpoint = _opened(note, verifier, "The checkpoint")
    if not 0 <= index < checkpoint.size:
        raise LogRefused(f"There is no entry {index}: the checkpoint has {checkpoint.size}.")
    try:
        [entry] = folder.entries(index, index + 1)
        hashes = inclusion_proof(index, checkpoint.size, folder.hash_of(checkpoint.size))
    except TilesRefused as problem:
        raise LogRefused(f"The file {problem}.") from None
    if not verify_inclusion(leaf_hash(entry), index, checkpoint.size, hashes, checkpoint.root):
        raise LogRefused(f"Entry {index} and the tiles do not lead to the root of the checkpoint.")
    lines = (PROOF_FORMAT, f"index {index}", *map(to_base64, hashes))
    return "".join(f"{line}\n" for line in lines).encode() + b"\n" + note


def verify_proof(proof: bytes, entry: bytes, verifier: NoteVerifier) -> Checkpoint:
    """The checkpoint, signed by the verifier, whose log has this entry by this proof.

    Raises LogRefused. The `extra` line of a proof is not covered by anything and passed over.
    """
    if len(proof) > PROOF_BYTES_MAX:
        raise LogRefused(f"A proof has at most {PROOF_BYTES_MAX} bytes.")
    if len(entry) > ENTRY_BYTES_MAX:
        raise LogRefused(f"An entry has at most {ENTRY_BYTES_MAX} bytes.")
    header, empty_line, note = proof.partition(b"\n\n")
    if not empty_line or len(header) > HEADER_BYTES_MAX:
        raise LogRefused("The proof has no checkpoint after an empty line.")
    index, hashes = _header(header)
    checkpoint = _opened(note, verifier, "The checkpoint of the proof")
    if not verify_inclusion(leaf_hash(entry), index, checkpoint.size, hashes, checkpoint.root):
        raise LogRefused(
            f"The proof does not show that this is entry {index} of the {checkpoint.size} entries "
            f"of {checkpoint.origin}."
        )
    return checkpoint


def _header(header: bytes) -> tuple[int, list[bytes]]:
    """Index and hashes of a proof."""
    try:
        first, *lines = header.decode("ascii").split("\n")
        if first != PROOF_FORMAT:
            raise LogRefused(f"A proof begins with the line {PROOF_FORMAT}.")
        if lines and lines[0].startswith("extra "):
            from_base64(lines.pop(0).removeprefix("extra "))
        hashes = [from_base64(line) for line in lines[1:]]
    except (NoteRefused, UnicodeDecodeError):
        raise LogRefused("A line of the proof is not base64.") from None
    word, _, index = (lines or [""])[0].partition(" ")
    if word != "index" or not SIZE.fullmatch(index):
        raise LogRefused("The proof names no index.")
    return int(index), hashes


def _read_checkpoint(folder: TileFolder) -> bytes:
    try:
        note = folder.checkpoint()
    except TilesRefused as problem:
        raise LogRefused(f"The file {problem}.") from None
    if note is None:
        raise LogRefused("The folder has no checkpoint.")
    return note


def _opened(note: bytes, verifier: NoteVerifier, what: str) -> Checkpoint:
    try:
        checkpoint = Checkpoint.read(open_note(note, verifier))
    except NoteRefused as problem:
        raise LogRefused(f"{what} does not hold: {problem}.") from None
    if checkpoint.origin != verifier.name:
        raise LogRefused(
            f"{what} is of another log: its origin is {checkpoint.origin}, the key is that of "
            f"{verifier.name}."
        )
    return checkpoint


def _miscounted(bundle: Bundle, number: int, leaves: Sequence[bytes], tile: bytes) -> str:
    """Says where a bundle with too few or too many entries leaves its tile."""
    expected = hashes_in(tile)
    at = number * TILE_WIDTH + _first_difference(leaves, expected)
    if len(leaves) < bundle.width:
        return (
            f"Entry {at} is missing: {bundle.name} has {len(leaves)} entries, not {bundle.width}."
        )
    return f"Entry {at} is one too many: {bundle.name} should have {bundle.width} entries."


def _first_difference(some: Sequence[bytes], others: Sequence[bytes]) -> int:
    """Where two rows begin to differ; the end of the shorter one when it is a part of the other."""
    for at, (one, other) in enumerate(zip(some, others, strict=False)):
        if one != other:
            return at
    return min(len(some), len(others))
