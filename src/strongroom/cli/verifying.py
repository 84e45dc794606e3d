"""`strongroom verify`: a copy of a log, a proof or a bundle, against a public key.

It needs no home, no database and no network, so that whoever is not us can run it.
"""

import argparse
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Final

from strongroom.cli.plain import plain
from strongroom.cli.progress import Bar
from strongroom.clock import EPOCH, rfc3339
from strongroom.config import ConfigurationError
from strongroom.log.bundles import check_bundle
from strongroom.log.cosignatures import CosignatureVerifier
from strongroom.log.entries import Entry
from strongroom.log.notes import (
    KEY_TEXT_BYTES_MAX,
    NOTE_BYTES_MAX,
    PRIVATE,
    Checkpoint,
    NoteRefused,
    NoteVerifier,
    to_base64,
)
from strongroom.log.proofs import FILE_BYTES_MAX, check_proof
from strongroom.log.stories import ToldDispute, ToldRefund
from strongroom.log.tiles import ENTRY_BYTES_MAX, TileFolder
from strongroom.log.verifying import (
    PROOF_BYTES_MAX,
    PROOF_FORMAT,
    LogRefused,
    verify_folder,
    verify_proof,
)
from strongroom.log.witnessed import find_witnessed
from strongroom.money import EXPONENTS, as_decimal_text

BAR_SECONDS: Final = 0.5
"""What is over sooner needs no bar."""
BLANKS: Final = 16
"""Room for the newline that editors put after a key."""


def verify(options: argparse.Namespace) -> int:
    """Prints what holds, and how fast it was checked; 1 and a sentence where it does not."""
    if options.proof is None and options.entry is not None:
        raise ConfigurationError("--entry goes with --proof.")
    if options.log is None and options.older:
        raise ConfigurationError("--older goes with --log.")
    if options.log is None and options.bundle is None and options.witness:
        raise ConfigurationError("--witness goes with --log and --bundle.")
    if options.rows:
        from strongroom.cli.proving import verify_rows

        return verify_rows(options)
    if options.key is None:
        raise ConfigurationError("--key is missing: the public key, from somewhere else.")
    verifier = read_verifier(options.key)
    try:
        if options.log is not None:
            return _verify_log(options.log, verifier, options.older, options.witness)
        if options.bundle is not None:
            _verify_bundle(options.bundle, verifier, options.witness)
        elif options.entry is None:
            _verify_file(options.proof, verifier)
        else:
            _verify_entry(options.proof, options.entry, verifier)
    except LogRefused as refusal:
        print(f"strongroom: {refusal}", file=sys.stderr)
        return 1
    return 0


def _verify_log(
    folder: Path, verifier: NoteVerifier, older: list[Path], witnesses: list[Path]
) -> int:
    """1 where an older checkpoint has what was lost since."""
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is no folder.")
    notes = [_content(file, NOTE_BYTES_MAX) for file in older]
    seen = [find_witnessed(folder, verifier, _read_witness(file)) for file in witnesses]
    notes += [one.note for one in seen]
    progress = LateBar()
    started = time.monotonic()
    try:
        found = verify_folder(TileFolder(folder), verifier, older=notes, progress=progress)
    finally:
        progress.end()
    seconds = max(time.monotonic() - started, 1e-6)
    print(f"origin  {found.origin}\nsize    {found.size}\nroot    {to_base64(found.root)}")
    for sentence in found.opened:
        print(f"epoch   {sentence}")
    for one in seen:
        at = rfc3339(EPOCH + timedelta(seconds=one.seconds))
        print(f"witness {one.witness}: {one.size} of {found.size} entries, at {at}")
    print(f"speed   {found.size / seconds:.0f} entries/s")
    for sentence in found.lost:
        print(f"strongroom: {sentence}", file=sys.stderr)
    return 1 if found.lost else 0


def _verify_entry(proof: Path, entry: Path, verifier: NoteVerifier) -> None:
    found = verify_proof(
        _content(proof, PROOF_BYTES_MAX), _content(entry, ENTRY_BYTES_MAX), verifier
    )
    print(f"origin  {found.origin}\nsize    {found.size}\nroot    {to_base64(found.root)}")


def _verify_file(file: Path, verifier: NoteVerifier) -> None:
    content = _content(file, FILE_BYTES_MAX)
    if content.startswith(PROOF_FORMAT.encode()):
        raise ConfigurationError(f"{file} is the proof of one entry: say --entry, too.")
    found = check_proof(content, verifier)
    print(f"proof   {found.id}: {len(found.entries)} events, each in the log")
    _show(found.entries, found.checkpoint)


def _verify_bundle(file: Path, verifier: NoteVerifier, witnesses: list[Path]) -> None:
    content = _content(file, FILE_BYTES_MAX)
    found = check_bundle(content, verifier, [_read_witness(one) for one in witnesses])
    story, standing = found.story, found.story.standing
    print(f"bundle  {story.payment}: {len(found.entries)} events, each in the log")
    print(f"told    {rfc3339(found.exported.at)}  by {plain(found.exported.actor)}")
    print(f"stands  {plain(standing.status)}  {_money(standing.amount_minor, standing.currency)}")
    parts: list[ToldRefund | ToldDispute] = [*story.refunds, *story.disputes]
    for part in parts:
        money = _money(part.amount_minor, part.currency)
        print(f"  {part.id}  {plain(part.status)}  {money}")
    _show(found.entries, found.checkpoint)
    for name in found.unchecked:
        print(f"cosigned, and not checked: {plain(name)}; give the witness's key by --witness")


def _show(entries: list[Entry], checkpoint: Checkpoint) -> None:
    """The events that are proven, and the log that they are in."""
    for entry in entries:
        kind, actor = plain(entry.kind), plain(entry.actor)
        print(f"  {rfc3339(entry.at)}  {kind}  v{entry.version}  by {actor}")
    print(f"origin  {checkpoint.origin}\nsize    {checkpoint.size}")
    print(f"root    {to_base64(checkpoint.root)}")


def _money(amount_minor: int, currency: str) -> str:
    """An amount; of a currency that is not known here, in its minor unit."""
    if currency in EXPONENTS:
        return as_decimal_text(amount_minor, currency)
    return f"{amount_minor} {plain(currency)}"


class LateBar:
    """A bar on a terminal for what takes long; nothing elsewhere, nor for what is over at once."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._from = time.monotonic() + BAR_SECONDS

    def __call__(self, done: int, total: int) -> None:
        """So many of so many are done."""
        if self._bar is None:
            if not sys.stderr.isatty() or time.monotonic() < self._from:
                return
            self._bar = Bar("entries")
        self._bar(done, total)

    def end(self) -> None:
        """Leaves the line of the bar, if there is one."""
        if self._bar is not None:
            self._bar.end()


def read_verifier(file: Path) -> NoteVerifier:
    """The public key in a file. Raises ConfigurationError."""
    content = _content(file, KEY_TEXT_BYTES_MAX + BLANKS)
    if content.startswith(PRIVATE.encode()):
        raise ConfigurationError(f"{file} has a private key: give nobody that, but the public one.")
    try:
        return NoteVerifier.read(content.decode().strip())
    except (NoteRefused, UnicodeDecodeError):
        raise ConfigurationError(f"{file} has no public key of the form NAME+ID+BASE64.") from None


def _read_witness(file: Path) -> CosignatureVerifier:
    """The public key of a witness in a file. Raises ConfigurationError."""
    content = _content(file, KEY_TEXT_BYTES_MAX + BLANKS)
    try:
        return CosignatureVerifier.read(content.decode().strip())
    except (NoteRefused, UnicodeDecodeError):
        raise ConfigurationError(f"{file} has no public key of a witness.") from None


def _content(file: Path, bytes_max: int) -> bytes:
    """A file's bytes. Raises ConfigurationError when it is not there, or longer than it can be."""
    try:
        with file.open("rb") as stream:
            content = stream.read(bytes_max + 1)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}.") from None
    if len(content) > bytes_max:
        raise ConfigurationError(f"{file} is longer than the {bytes_max} bytes that it can have.")
    return content
