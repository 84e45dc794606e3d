"""A witness: it remembers the newest head of each log that it knows, and cosigns what extends it.

C2SP's tlog-witness. It may stand wherever the log's owner has no say: with what it remembers, who
has the log's key cannot show one history here and another there, nor take one back.
"""

import fcntl
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from strongroom.clock import Clock
from strongroom.config import ConfigurationError, replace_file
from strongroom.log.cosignatures import CosigningKey
from strongroom.log.notes import (
    SIZE,
    Checkpoint,
    NoteRefused,
    NoteVerifier,
    from_base64,
    note_parts,
    open_note,
    to_base64,
)
from strongroom.log.tiles import sync
from strongroom.log.tree import EMPTY_ROOT, HASH_BYTES, SIZE_MAX, verify_consistency
from strongroom.vault.secret import Secret

BODY_BYTES_MAX: Final = 65_536
PROOF_LINES_MAX: Final = 63
ADD_CHECKPOINT: Final = "/add-checkpoint"
SIZE_TYPE: Final = "text/x.tlog.size"
TEXT_TYPE: Final = "text/plain"
KEY_FILE: Final = "key"
MEMORY_FILE: Final = "memory.json"
LOCK_FILE: Final = "lock"
FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700
LOGS_MAX: Final = 10_000


class NotCosigned(Exception):
    """The witness does not sign: the status, and the text of the answer of this type."""

    def __init__(self, status: int, text: str, content_type: str = TEXT_TYPE) -> None:
        super().__init__(text)
        self.status, self.text, self.content_type = status, text, content_type


class Seen(Struct, frozen=True):
    """The head of a log that was cosigned last."""

    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.size <= SIZE_MAX or len(self.root) != HASH_BYTES:
            raise ValueError("no log has this head")


NOTHING: Final = Seen(0, EMPTY_ROOT)


class Submission(Struct, frozen=True):
    """What a log asks: to cosign this note, which extends what was cosigned at size `old`."""

    old: int
    proof: tuple[bytes, ...]
    note: bytes

    def body(self) -> bytes:
        """The bytes to send."""
        lines = (f"old {self.old}", *map(to_base64, self.proof), "")
        return "".join(f"{line}\n" for line in lines).encode() + self.note

    @classmethod
    def read(cls, body: bytes) -> "Submission":
        """The submission of a body. Raises NotCosigned."""
        if len(body) > BODY_BYTES_MAX:
            raise NotCosigned(413, f"a submission has at most {BODY_BYTES_MAX} bytes")
        head, empty_line, note = body.partition(b"\n\n")
        try:
            first, *lines = head.decode("ascii").split("\n")
            word, _, size = first.partition(" ")
            if not empty_line or word != "old" or not SIZE.fullmatch(size):
                raise NotCosigned(400, "a submission begins with `old` and a size")
            if int(size) > SIZE_MAX or len(lines) > PROOF_LINES_MAX:
                raise NotCosigned(400, f"a proof has at most {PROOF_LINES_MAX} lines")
            return cls(int(size), tuple(map(from_base64, lines)), note)
        except (NoteRefused, UnicodeDecodeError):
            raise NotCosigned(400, "a line of the proof is not base64") from None


def origin_of(submission: Submission) -> str:
    """Of which log the submission says that it is. Raises NotCosigned."""
    try:
        return Checkpoint.read(note_parts(submission.note)[0]).origin
    except NoteRefused as problem:
        raise NotCosigned(400, str(problem)) from None


def decide(submission: Submission, verifier: NoteVerifier, seen: Seen) -> Checkpoint:
    """The checkpoint that may be cosigned after what was seen of its log. Raises NotCosigned."""
    try:
        checkpoint = Checkpoint.read(open_note(submission.note, verifier))
    except NoteRefused as problem:
        raise NotCosigned(403, str(problem)) from None
    if submission.old > checkpoint.size:
        raise NotCosigned(400, "the old size is larger than that of the checkpoint")
    if submission.old != seen.size:
        raise _conflict(seen)
    if checkpoint.size == seen.size and checkpoint.root != seen.root:
        raise _conflict(seen)
    if not verify_consistency(
        seen.size, seen.root, checkpoint.size, checkpoint.root, submission.proof
    ):
        raise NotCosigned(422, "the proof does not show that the checkpoint extends the old one")
    return checkpoint


def _conflict(seen: Seen) -> NotCosigned:
    return NotCosigned(409, f"{seen.size}\n", SIZE_TYPE)


class WitnessFolder:
    """Where a witness has its key and its memory; one process at a time may have it."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self._lock: int | None = None

    def key(self, name: str | None) -> CosigningKey:
        """The key, made in this name if there is none yet. Raises ConfigurationError."""
        file = self.path / KEY_FILE
        try:
            if file.exists():
                return self._read_key(file, name)
            if name is None:
                raise ConfigurationError(
                    f"{self.path} has no key yet: say by --name in which name the witness signs."
                )
            if (self.path / MEMORY_FILE).exists():
                raise ConfigurationError(f"{file} is missing: restore it from a backup.")
            key = CosigningKey.new(name)
        except NoteRefused as problem:
            raise ConfigurationError(f"{file}: {problem}.") from None
        self.path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        # The memory is first: a key without one has lost what it signed.
        self.write({})
        replace_file(file, key.text().reveal() + b"\n", FILE_MODE)
        sync(self.path)
        return key

    def _read_key(self, file: Path, name: str | None) -> CosigningKey:
        if file.stat().st_mode & 0o077:
            raise ConfigurationError(f"{file} can be read by others: run `chmod 600 {file}`.")
        key = CosigningKey.read(Secret(file.read_bytes().strip()))
        if name not in (None, key.verifier.name):
            raise ConfigurationError(f"{file} signs in the name {key.verifier.name}.")
        return key

    def hold(self) -> None:
        """Keeps other processes away until this one ends. Raises ConfigurationError.

        Two that remember apart would sign two roots of one size.
        """
        self._lock = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigurationError(f"another witness works with {self.path}.") from None

    def read(self) -> dict[str, Seen]:
        """What was cosigned last, by origin. Raises ConfigurationError: nobody may guess it."""
        file = self.path / MEMORY_FILE
        try:
            return msgspec.json.decode(file.read_bytes(), type=dict[str, Seen])
        except (OSError, msgspec.MsgspecError):
            raise ConfigurationError(
                f"{file} cannot be read, and without it nobody knows what was cosigned: restore "
                "it, or begin anew with another folder and another key."
            ) from None

    def write(self, seen: Mapping[str, Seen]) -> None:
        """On disk when it returns."""
        replace_file(self.path / MEMORY_FILE, msgspec.json.encode(seen), FILE_MODE)
        sync(self.path)


class Witness:
    """One witness over the logs that it was told of; any thread may ask it."""

    def __init__(
        self,
        folder: WitnessFolder,
        key: CosigningKey,
        logs: Mapping[str, NoteVerifier],
        clock: Clock,
    ) -> None:
        """`logs` are by origin. Raises ConfigurationError where it is not known what it signed."""
        self._folder, self._key, self._logs, self._clock = folder, key, dict(logs), clock
        self._seen = folder.read()
        self._one_at_a_time: Final = threading.Lock()

    def add_checkpoint(self, body: bytes) -> bytes:
        """The cosignature's line; what it is for is on disk. Raises NotCosigned, OSError."""
        submission = Submission.read(body)
        origin = origin_of(submission)
        verifier = self._logs.get(origin)
        if verifier is None:
            raise NotCosigned(404, "this log is not known here")
        with self._one_at_a_time:
            seen = self._seen.get(origin, NOTHING)
            checkpoint = decide(submission, verifier, seen)
            now = Seen(checkpoint.size, checkpoint.root)
            if now != seen or origin not in self._seen:
                known = self._seen | {origin: now}
                self._folder.write(known)
                self._seen = known
            seconds = int(self._clock.now().timestamp())
            text, _ = note_parts(submission.note)
            return f"{self._key.cosign(text, seconds)}\n".encode()


def read_logs(files: Mapping[Path, str | None]) -> dict[str, NoteVerifier]:
    """The logs of these files with a public key each, by origin; None is the key's own name.

    Raises ConfigurationError.
    """
    logs: dict[str, NoteVerifier] = {}
    for file, name in files.items():
        try:
            verifier = NoteVerifier.read(file.read_text("utf-8").strip())
        except (NoteRefused, UnicodeDecodeError):
            raise ConfigurationError(f"{file} has no public key of a log.") from None
        origin = name or verifier.name
        if logs.setdefault(origin, verifier) != verifier:
            raise ConfigurationError(f"{origin} has two keys; a witness knows one for each log.")
    if len(logs) > LOGS_MAX:
        raise ConfigurationError(f"a witness knows at most {LOGS_MAX} logs.")
    return logs
