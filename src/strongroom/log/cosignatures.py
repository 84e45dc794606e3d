"""What a witness signs: that, at a time, it saw no larger head of a log than this one.

C2SP's tlog-cosignature, version 1. A line of it stands in a note beside the log's own signature:
the key is of another kind (0x04), so who does not know it passes the line over. The signature is
eight bytes of time, then Ed25519 over `cosignature/v1`, the time and the text of the checkpoint.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple, NoReturn, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from strongroom.log.notes import (
    KEY_BYTES,
    PRIVATE,
    SIGNED_BY,
    Checkpoint,
    NoteRefused,
    check_name,
    key_id_of,
    key_parts,
    note_parts,
    signatures_by,
    to_base64,
    with_signatures,
)
from strongroom.vault.secret import Secret

COSIGNATURE: Final = b"\x04"
TIME_BYTES: Final = 8
TIME_MAX: Final = 2**63 - 1
TIME_SHOWN_MAX: Final = 253_402_300_799
"""The last second of the year 9999."""
SIGNATURE_BYTES: Final = 64


class CosignatureVerifier(Struct, frozen=True):
    """A witness that is known: its name, and an Ed25519 public key of 32 bytes.

    Raises NoteRefused for a name that no note can have, and for a key of another length.
    """

    name: str
    public: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.public) != KEY_BYTES:
            raise NoteRefused(f"a public key has {KEY_BYTES} bytes")

    @property
    def key_id(self) -> bytes:
        """Another than that of a log with the same name and key."""
        return key_id_of(self.name, COSIGNATURE + self.public)

    def text(self) -> str:
        """The key for others: name+id+base64."""
        return f"{self.name}+{self.key_id.hex()}+{to_base64(COSIGNATURE + self.public)}"

    @classmethod
    def read(cls, text: str) -> Self:
        """The verifier of a text as `text` gives it. Raises NoteRefused."""
        name, key_id, kind, key = key_parts(text)
        if kind != COSIGNATURE:
            raise NoteRefused("the key is not that of a witness")
        found = cls(name, key)
        if found.key_id != key_id:
            raise NoteRefused("the key and its id do not go together")
        return found

    def verifies(self, text: bytes, signature: bytes) -> bool:
        """Whether this witness signed this text at the time that the signature says."""
        if len(signature) != TIME_BYTES + SIGNATURE_BYTES or _time_of(signature) > TIME_MAX:
            return False
        message = _message(text, _time_of(signature))
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature[TIME_BYTES:], message)
        except (InvalidSignature, ValueError):
            return False
        return True


class CosigningKey:
    """A witness's name and its private key. Neither its text nor its errors show the key."""

    __slots__ = ("_key", "verifier")

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self._key: Final = key
        self.verifier: Final = CosignatureVerifier(name, key.public_key().public_bytes_raw())

    @classmethod
    def new(cls, name: str) -> Self:
        """A key that nobody has seen. Raises NoteRefused for a name that no note can have."""
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def read(cls, text: Secret) -> Self:
        """The key of a text as `text` gives it. Raises NoteRefused."""
        try:
            words = text.reveal_text()
        except UnicodeDecodeError:
            raise NoteRefused("the private key is not text") from None
        if not words.startswith(PRIVATE):
            raise NoteRefused(f"a private key begins with {PRIVATE}")
        name, key_id, kind, seed = key_parts(words.removeprefix(PRIVATE))
        if kind != COSIGNATURE or len(seed) != KEY_BYTES:
            raise NoteRefused("the private key is not that of a witness")
        found = cls(name, Ed25519PrivateKey.from_private_bytes(seed))
        if found.verifier.key_id != key_id:
            raise NoteRefused("the private key and its id do not go together")
        return found

    def text(self) -> Secret:
        """The key in the form of a log's, with the byte of its own kind."""
        seed = to_base64(COSIGNATURE + self._key.private_bytes_raw())
        verifier = self.verifier
        return Secret(f"{PRIVATE}{verifier.name}+{verifier.key_id.hex()}+{seed}")

    def cosign(self, text: bytes, seconds: int) -> str:
        """The line of a note with this text, signed at this time, in seconds since 1970."""
        signature = seconds.to_bytes(TIME_BYTES) + self._key.sign(_message(text, seconds))
        verifier = self.verifier
        return f"{SIGNED_BY}{verifier.name} {to_base64(verifier.key_id + signature)}"

    def __repr__(self) -> str:
        return f"CosigningKey({self.verifier.name!r}, [secret])"

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("a private key is not serialised")


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
