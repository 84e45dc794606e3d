"""What a witness signs: that, at a time, it saw no larger head of a log than this one.

C2SP's tlog-cosignature, version 1. A line of it stands in a note beside the log's own signature:
the key is of another kind (0x04), so who does not know it passes the line over. The signature is
eight bytes of time, then Ed25519 over `cosignature/v1`, the time and the text of the checkpoint.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from strongroom.config import ConfigurationError, WitnessAt
from strongroom.log.notes import (
    SIGNED_BY,
    Checkpoint,
    NoteRefused,
    PrivateKey,
    PublicKey,
    note_parts,
    signatures_by,
    to_base64,
    with_signatures,
)

COSIGNATURE: Final = b"\x04"
TIME_BYTES: Final = 8
TIME_MAX: Final = 2**63 - 1
TIME_SHOWN_MAX: Final = 253_402_300_799
"""The last second of the year 9999."""
SIGNATURE_BYTES: Final = 64


class CosignatureVerifier(PublicKey, frozen=True):
    """A witness that is known; its key has another id than a log's with the same name and key."""

    kind = COSIGNATURE
    other_kind = "not that of a witness"

    def verifies(self, text: bytes, signature: bytes) -> bool:
        """Whether this witness signed this text at the time that the signature says."""
        if len(signature) != TIME_BYTES + SIGNATURE_BYTES or _time_of(signature) > TIME_MAX:
            return False
        return self.has_signed(_message(text, _time_of(signature)), signature[TIME_BYTES:])


def verifier_of(witness: WitnessAt) -> CosignatureVerifier:
    """The witness of a setting. Raises ConfigurationError for a key that is not a witness's."""
    try:
        return CosignatureVerifier.read(witness.key)
    except NoteRefused as problem:
        raise ConfigurationError(f"the key of the witness {witness.url}: {problem}.") from None


class CosigningKey(PrivateKey[CosignatureVerifier]):
    """A witness that signs."""

    __slots__ = ()
    of = CosignatureVerifier

    def cosign(self, text: bytes, seconds: int) -> str:
        """The line of a note with this text, signed at this time, in seconds since 1970."""
        signature = seconds.to_bytes(TIME_BYTES) + self._key.sign(_message(text, seconds))
        return f"{SIGNED_BY}{self.name} {to_base64(self.verifier.key_id + signature)}"


class Witnessed(NamedTuple):
    """What a witness said it saw, and when, in seconds since 1970."""

    checkpoint: Checkpoint
    seconds: int


def witnessed(note: bytes, verifier: CosignatureVerifier) -> Witnessed:
    """What this witness said by this note, whoever else signed it. Raises NoteRefused."""
    signatures = signatures_by(note, verifier).values()
    return Witnessed(Checkpoint.read(note_parts(note)[0]), max(map(_time_of, signatures)))


def cosigned(note: bytes, lines: Iterable[str], verifier: CosignatureVerifier) -> bytes:
    """The note with those of the lines that this witness signed. Raises NoteRefused."""
    text, _ = note_parts(note)
    answer = text + b"\n" + "".join(f"{line}\n" for line in lines).encode()
    return with_signatures(note, signatures_by(answer, verifier))


def _time_of(signature: bytes) -> int:
    return int.from_bytes(signature[:TIME_BYTES])


def _message(text: bytes, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n".encode() + text
