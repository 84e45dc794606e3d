"""Signed notes and checkpoints, as C2SP's signed-note and tlog-checkpoint have them.

    example.com/payments                          the text: here a checkpoint, that is an origin,
    109482                                        a size
    sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=  and a root
                                                  an empty line
    — example.com/payments hI2DJw…roloI=          who signed: key id (4 bytes) and signature

Go's golang.org/x/mod/sumdb/note reads and writes the same bytes. Here each thing has one way to be
written: base64 with stray bits, a size with a leading zero or a key id in capitals is refused.
"""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from hashlib import sha256
from itertools import chain
from typing import ClassVar, Final, Generic, NoReturn, Protocol, Self, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from strongroom.log.tree import EMPTY_ROOT, HASH_BYTES, SIZE_MAX
from strongroom.vault.secret import Secret

NOTE_BYTES_MAX: Final = 262_144
"""Room for 16 signatures and more of any kind known, as the specification asks for."""
SIGNATURES_MAX: Final = 100
NAME_BYTES_MAX: Final = 255
LINE_BYTES_MAX: Final = 4_096
EXTENSIONS_MAX: Final = 16

ED25519: Final = b"\x01"
KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 4
KEY_TEXT_BYTES_MAX: Final = NAME_BYTES_MAX + 100
PRIVATE: Final = "PRIVATE+KEY+"
SIGNED_BY: Final = "— "
SIZE: Final = re.compile("0|[1-9][0-9]{0,18}")
CONTROL: Final = re.compile(r"[\x00-\x1f]")
CONTROL_IN_NOTE: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")


class NoteRefused(Exception):
    """A note, a checkpoint or a key that is not well formed, or that nobody known has signed.

    The message says what is wrong and repeats nothing of what was read.
    """


class Verifier(Protocol):
    """Who is known to sign, in whatever way its kind of key does."""

    @property
    def name(self) -> str:
        """In whose name."""
        ...

    @property
    def key_id(self) -> bytes:
        """Four bytes that tell keys of one name apart; they are no protection."""
        ...

    def verifies(self, text: bytes, signature: bytes) -> bool:
        """Whether this signature of this text is good."""
        ...


class PublicKey(Struct, frozen=True):
    """A name, and an Ed25519 public key of 32 bytes, of the kind that a subclass says.

    Raises NoteRefused for a name that no note can have, and for a key of another length.
    """

    kind: ClassVar[bytes]
    other_kind: ClassVar[str]
    """What is said of a key of another kind."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.public) != KEY_BYTES:
            raise NoteRefused(f"a public key has {KEY_BYTES} bytes")

    @property
    def key_id(self) -> bytes:
        """Four bytes that tell keys of one name and of other kinds apart; no protection."""
        return key_id_of(self.name, self.kind + self.public)

    def text(self) -> str:
        """The key for others: name+id+base64."""
        return f"{self.name}+{self.key_id.hex()}+{to_base64(self.kind + self.public)}"

    @classmethod
    def read(cls, text: str) -> Self:
        """The key of a text as `text` gives it. Raises NoteRefused."""
        name, key_id, kind, key = key_parts(text)
        if kind != cls.kind:
            raise NoteRefused(f"the key is {cls.other_kind}")
        found = cls(name, key)
        if found.key_id != key_id:
            raise NoteRefused("the key and its id do not go together")
        return found

    def has_signed(self, message: bytes, signature: bytes) -> bool:
        """Whether the bare Ed25519 signature of these bytes is of this key."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


class NoteVerifier(PublicKey, frozen=True):
    """Who is known to sign notes, as a log does."""

    kind = ED25519
    other_kind = "of a kind that is not known here"

    def verifies(self, text: bytes, signature: bytes) -> bool:
        """Whether this key signed this text."""
        return self.has_signed(text, signature)


Public = TypeVar("Public", bound=PublicKey)


class PrivateKey(Generic[Public]):
    """A name and a private key, of a kind that a subclass says; neither text nor error shows it."""

    __slots__ = ("_key", "verifier")
    of: type[Public]

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self._key: Final = key
        self.verifier: Final[Public] = self.of(name, key.public_key().public_bytes_raw())

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
        if kind != cls.of.kind or len(seed) != KEY_BYTES:
            raise NoteRefused(f"the private key is {cls.of.other_kind}")
        found = cls(name, Ed25519PrivateKey.from_private_bytes(seed))
        if found.verifier.key_id != key_id:
            raise NoteRefused("the private key and its id do not go together")
        return found

    @property
    def name(self) -> str:
        """Who signs."""
        return self.verifier.name

    def text(self) -> Secret:
        """The key as Go writes it: PRIVATE+KEY+name+id+base64, with the byte of its kind."""
        seed = to_base64(self.of.kind + self._key.private_bytes_raw())
        return Secret(f"{PRIVATE}{self.name}+{self.verifier.key_id.hex()}+{seed}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, [secret])"

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("a private key is not serialised")


class NoteKey(PrivateKey[NoteVerifier]):
    """Who signs notes."""

    __slots__ = ()
    of = NoteVerifier

    def named(self, name: str) -> "NoteKey":
        """The same key in another name. Raises NoteRefused for a name that no note can have."""
        return NoteKey(name, self._key)

    def sign(self, text: bytes) -> bytes:
        """The signature, 64 bytes."""
        return self._key.sign(text)


def sign_note(text: bytes, *keys: NoteKey) -> bytes:
    """The note of this text, signed by each key. Raises NoteRefused for what cannot be a note."""
    if not keys or len(keys) > SIGNATURES_MAX:
        raise NoteRefused(f"a note has 1 to {SIGNATURES_MAX} signatures")
    if not text.endswith(b"\n"):
        raise NoteRefused("the text of a note ends with a newline")
    lines = dict.fromkeys(
        f"{SIGNED_BY}{key.name} {to_base64(key.verifier.key_id + key.sign(text))}\n" for key in keys
    )
    note = text + b"\n" + "".join(lines).encode()
    _text_of_note(note)
    return note


def open_note(note: bytes, *verifiers: Verifier) -> bytes:
    """The text of a note that at least one of these signed.

    Raises NoteRefused when none of them did, when a signature in the name and key id of one of
    them is not good, and for what is no note. Signatures of others are passed over.
    """
    known: dict[tuple[str, bytes], Verifier] = {}
    for verifier in verifiers:
        if known.setdefault((verifier.name, verifier.key_id), verifier) != verifier:
            raise NoteRefused("two verifiers have one name and one key id")
    signed, lines = note_parts(note)
    good = 0
    for line in lines:
        name, key_id, signature = _signature_parts(line)
        signer = known.get((name, key_id))
        if signer is None:
            continue
        if not signer.verifies(signed, signature):
            raise NoteRefused(f"the signature of {name} is not good")
        good += 1
    if not good:
        raise NoteRefused("nobody who is known has signed the note")
    return signed


def signers(note: bytes) -> frozenset[str]:
    """The names in which a note is signed, rightly or not. Raises NoteRefused."""
    return frozenset(_signature_parts(line)[0] for line in note_parts(note)[1])


def note_parts(note: bytes) -> tuple[bytes, list[str]]:
    """The text of a note and its lines of signatures, none of them checked. Raises NoteRefused."""
    text, empty_line, signatures = _text_of_note(note).rpartition("\n\n")
    if not empty_line or not signatures.endswith("\n"):
        raise NoteRefused("the note has no signatures after an empty line")
    lines = signatures[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise NoteRefused(f"the note has more than {SIGNATURES_MAX} signatures")
    return (text + "\n").encode(), lines


def signatures_by(note: bytes, verifier: Verifier) -> dict[str, bytes]:
    """The lines of a note that this verifier signed, and the signature that each has.

    Raises NoteRefused when there is none, when one is not good, and for what is no note.
    """
    open_note(note, verifier)
    parts = {line: _signature_parts(line) for line in note_parts(note)[1]}
    known = (verifier.name, verifier.key_id)
    return {line: part[2] for line, part in parts.items() if part[:2] == known}


def with_signatures(note: bytes, lines: Iterable[str]) -> bytes:
    """The note with these lines of signatures after those that it has.

    A line takes the place of an older one of the same key. Raises NoteRefused for what is no line,
    and for too many.
    """
    text, kept = note_parts(note)
    by_key: dict[tuple[str, bytes], list[str]] = {}
    for line in kept:
        by_key.setdefault(_signature_parts(line)[:2], []).append(line)
    by_key |= {_signature_parts(line)[:2]: [line] for line in lines}
    made = text + b"\n" + "".join(f"{line}\n" for line in chain(*by_key.values())).encode()
    note_parts(made)
    return made


class Checkpoint(Struct, frozen=True):
    """What a log said of itself: it has `size` leaves under this root.

    Raises NoteRefused for what no checkpoint can say.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.extensions) > EXTENSIONS_MAX:
            raise NoteRefused(f"a checkpoint has at most {EXTENSIONS_MAX} lines of extensions")
        for line in (self.origin, *self.extensions):
            if not line or CONTROL.search(line) or len(_utf8(line)) > LINE_BYTES_MAX:
                raise NoteRefused(f"a line of a checkpoint has 1 to {LINE_BYTES_MAX} bytes of text")
        if not 0 <= self.size <= SIZE_MAX:
            raise NoteRefused("no log has the size of the checkpoint")
        if len(self.root) != HASH_BYTES:
            raise NoteRefused(f"a root has {HASH_BYTES} bytes")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise NoteRefused("the root of the checkpoint is not that of an empty log")

    def text(self) -> bytes:
        """The text to sign."""
        lines = (self.origin, str(self.size), to_base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines).encode()

    @classmethod
    def read(cls, text: bytes) -> Self:
        """The checkpoint of a text that `open_note` gave. Raises NoteRefused."""
        if len(text) > NOTE_BYTES_MAX:
            raise NoteRefused(f"a checkpoint has at most {NOTE_BYTES_MAX} bytes")
        try:
            lines = text.decode().split("\n")
        except UnicodeDecodeError:
            raise NoteRefused("a checkpoint is UTF-8") from None
        if len(lines) < 4 or lines.pop():
            raise NoteRefused("a checkpoint is three lines: an origin, a size and a root")
        origin, size, root, *extensions = lines
        if not SIZE.fullmatch(size):
            raise NoteRefused("the size of the checkpoint is no number")
        return cls(origin, int(size), from_base64(root), tuple(extensions))


def _text_of_note(note: bytes) -> str:
    if len(note) > NOTE_BYTES_MAX:
        raise NoteRefused(f"a note has at most {NOTE_BYTES_MAX} bytes")
    try:
        text = note.decode()
    except UnicodeDecodeError:
        raise NoteRefused("a note is UTF-8") from None
    if CONTROL_IN_NOTE.search(text):
        raise NoteRefused("a note has no control characters but newlines")
    return text


def _signature_parts(line: str) -> tuple[str, bytes, bytes]:
    name, _, encoded = line.removeprefix(SIGNED_BY).partition(" ")
    if not line.startswith(SIGNED_BY):
        raise NoteRefused("a line of a signature begins with a dash and a space")
    check_name(name)
    signature = from_base64(encoded)
    if len(signature) <= KEY_ID_BYTES:
        raise NoteRefused("a signature of the note is too short")
    return name, signature[:KEY_ID_BYTES], signature[KEY_ID_BYTES:]


def key_id_of(name: str, key: bytes) -> bytes:
    """The id of a key, that is the byte of its kind and its public bytes, in a name."""
    return sha256(name.encode() + b"\n" + key).digest()[:KEY_ID_BYTES]


def key_parts(text: str) -> tuple[str, bytes, bytes, bytes]:
    """Name, key id, kind and key. Raises NoteRefused; no error repeats any of it."""
    parts = text.split("+", 2)
    if len(parts) != 3 or len(_utf8(text)) > KEY_TEXT_BYTES_MAX:
        raise NoteRefused("a key is a name, an id and base64 with + between them")
    name, key_id, encoded = parts
    check_name(name)
    if not re.fullmatch("[0-9a-f]{8}", key_id):
        raise NoteRefused("the id of a key is eight hexadecimal digits")
    key = from_base64(encoded)
    return name, bytes.fromhex(key_id), key[:1], key[1:]


def check_name(name: str) -> None:
    """Raises NoteRefused for a name that no note can have."""
    if (
        not name
        or "+" in name
        or CONTROL.search(name)
        or any(map(str.isspace, name))
        or len(_utf8(name)) > NAME_BYTES_MAX
    ):
        raise NoteRefused(
            f"a name in a note has 1 to {NAME_BYTES_MAX} bytes, without spaces and plus signs"
        )


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise NoteRefused("a note is UTF-8") from None


def to_base64(content: bytes) -> str:
    """Base64 of RFC 4648, section 4."""
    return b64encode(content).decode()


def from_base64(text: str) -> bytes:
    """What `to_base64` gave this text for. Raises NoteRefused for base64 written otherwise."""
    try:
        content = b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise NoteRefused("the base64 is not well formed") from None
    if to_base64(content) != text:
        raise NoteRefused("the base64 is not well formed")
    return content
