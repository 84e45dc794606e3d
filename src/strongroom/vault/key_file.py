"""A KMS for dev: root keys in a file that its owner alone can read. Live mode refuses it.

    wrapped = format (1 byte) | commitment to the root key (32) | XAES-256-GCM: nonce, text, tag

The commitment is a digest of the root key, which finds it among several and admits no other; the
header and the context are authenticated. Who can read the file can unwrap everything.
"""

import fcntl
import hashlib
import os
import stat
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from strongroom.config import FOLDER_MODE, SECRET_MODE, ConfigurationError
from strongroom.vault.context import canonical, check_fit
from strongroom.vault.errors import KmsUnavailable, KmsWrongInput
from strongroom.vault.kms import WRAPPED_BYTES_MAX
from strongroom.vault.secret import Secret

if TYPE_CHECKING:
    from tink import aead

FILE_FORMAT: Final = "strongroom key file 1"
ROOT_KEYS_MAX: Final = 64
FILE_BYTES_MAX: Final = 65_536
WRAPPED_FORMAT: Final = b"\x01"
COMMITMENT_BYTES: Final = 32
HEADER_BYTES: Final = len(WRAPPED_FORMAT) + COMMITMENT_BYTES
OVERHEAD_BYTES_MAX: Final = 128
ID_BYTES: Final = 8
COMMITMENT_LABEL: Final = b"strongroom key file, commitment to a root key\0"


class _Stored(Struct, frozen=True, forbid_unknown_fields=True):
    """A root key as the file has it; the id, a digest of the key, tells whether it is intact."""

    id: str
    keyset: str


class _Document(Struct, frozen=True, forbid_unknown_fields=True):
    """The file: root keys, the newest last."""

    format: str
    root_keys: list[_Stored]


class _RootKey:
    """One root key. Tink is loaded when it is first used: it would delay every start."""

    def __init__(self, keyset: Secret) -> None:
        self._keyset = keyset
        self._aead: aead.Aead | None = None
        self.commitment = hashlib.sha256(COMMITMENT_LABEL + keyset.reveal()).digest()

    @property
    def id(self) -> str:
        return self.commitment[:ID_BYTES].hex()

    @property
    def stored(self) -> _Stored:
        return _Stored(self.id, b64encode(self._keyset.reveal()).decode())

    @property
    def aead(self) -> "aead.Aead":
        if self._aead is None:
            from tink import aead, proto_keyset_format, secret_key_access

            aead.register()
            handle = proto_keyset_format.parse(self._keyset.reveal(), secret_key_access.TOKEN)
            self._aead = handle.primitive(aead.Aead)
        return self._aead


class KeyFile:
    """The Kms of a key file. A root key that is added while this runs is noticed at the next call.

    Raises ConfigurationError when the file is missing, damaged, or not its owner's alone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen, self._root_keys = _read(path)

    @property
    def root_key(self) -> str:
        """The newest, as `key-file:` and a digest of it."""
        return f"key-file:{self._root_keys[-1].id}"

    async def wrap(self, key: Secret, context: Mapping[str, str]) -> bytes:
        """The key under the newest root key. Raises KmsUnavailable when the file is not usable."""
        check_fit(key, context)
        self._read_again_if_changed()
        root = self._root_keys[-1]
        header = WRAPPED_FORMAT + root.commitment
        sealed: bytes = root.aead.encrypt(key.reveal(), header + canonical(context))
        return header + sealed

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> Secret:
        """What was wrapped, by whichever root key. Raises KmsUnavailable and KmsWrongInput."""
        self._read_again_if_changed()
        header = wrapped[:HEADER_BYTES]
        root = next((r for r in self._root_keys if WRAPPED_FORMAT + r.commitment == header), None)
        if root is None or len(wrapped) > WRAPPED_BYTES_MAX + OVERHEAD_BYTES_MAX:
            raise KmsWrongInput("not wrapped by a root key of this file")
        aead = root.aead
        from tink import TinkError

        with suppress(TinkError):
            return Secret(aead.decrypt(wrapped[HEADER_BYTES:], header + canonical(context)))
        raise KmsWrongInput("wrapped in another context, or changed since")

    async def close(self) -> None:
        """Nothing is open."""

    def _read_again_if_changed(self) -> None:
        reason = ""
        try:
            if _seen(self._path.lstat()) != self._seen:
                self._seen, self._root_keys = _read(self._path)
        except ConfigurationError as error:
            reason = str(error)
        except OSError as error:
            reason = f"{self._path} cannot be read: {type(error).__name__}."
        if reason:
            raise KmsUnavailable(reason)


def make_key_file(path: Path) -> str:
    """Makes the file with one new root key and returns the root key's name.

    Raises ConfigurationError when there is a file: what it wrapped would be lost with it.
    """
    path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    with _alone(path.parent):
        if path.is_symlink() or path.exists():
            raise ConfigurationError(f"{path} is there already, and is left as it is.")
        return _write(path, [_new_root_key()])


def add_root_key(path: Path) -> str:
    """Adds a root key, which wraps from now on, and returns its name. The others still unwrap.

    Raises ConfigurationError when the file cannot be used or holds as many as it may.
    """
    with _alone(path.parent):
        _, root_keys = _read(path)
        if len(root_keys) >= ROOT_KEYS_MAX:
            raise ConfigurationError(f"{path} holds {ROOT_KEYS_MAX} root keys, and no more fit.")
        return _write(path, [*root_keys, _new_root_key()])


def _new_root_key() -> _RootKey:
    import tink
    from tink import aead, proto_keyset_format, secret_key_access

    aead.register()
    template = aead.aead_key_templates.XAES_256_GCM_192_BIT_NONCE_NO_PREFIX
    handle = tink.new_keyset_handle(template)
    return _RootKey(Secret(proto_keyset_format.serialize(handle, secret_key_access.TOKEN)))


def _read(path: Path) -> tuple[tuple[int, ...], list[_RootKey]]:
    """What the file holds, and the mark by which a change of it is noticed."""
    if path.is_symlink():
        raise ConfigurationError(f"{path} is a symbolic link: put the file itself there.")
    try:
        # Not blocking: a pipe in its place must not stop us.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path} is missing. Put it back from a backup: what it wrapped cannot be read without "
            "it. In a new deployment run `strongroom init`."
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {type(error).__name__}.") from None
    try:
        status = os.fstat(descriptor)
        _check_private(path, status)
        content = os.read(descriptor, FILE_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    root_keys = _parsed(content)
    if root_keys is None:
        raise ConfigurationError(
            f"{path} is damaged. Put it back from a backup: what it wrapped cannot be read without "
            "it."
        )
    return _seen(status), root_keys


def _check_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"{path} is not a file.")
    if status.st_uid != os.geteuid():
        raise ConfigurationError(
            f"{path} belongs to another user: run `chown {os.geteuid()} {path}` as root."
        )
    if status.st_mode & 0o077:
        raise ConfigurationError(f"{path} can be used by others: run `chmod 600 {path}`.")


def _parsed(content: bytes) -> list[_RootKey] | None:
    """The root keys, or None unless every one of them is intact."""
    try:
        document = msgspec.json.decode(content, type=_Document)
        keysets = [Secret(b64decode(key.keyset, validate=True)) for key in document.root_keys]
    except (msgspec.MsgspecError, ValueError):
        return None
    root_keys = [_RootKey(keyset) for keyset in keysets]
    intact = (
        len(content) <= FILE_BYTES_MAX
        and document.format == FILE_FORMAT
        and 1 <= len(root_keys) <= ROOT_KEYS_MAX
        and [key.id for key in root_keys] == [key.id for key in document.root_keys]
    )
    return root_keys if intact else None


def _seen(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else writes in the folder meanwhile, and what was written there is on disk after."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, root_keys: list[_RootKey]) -> str:
    """Writes beside it, syncs, and renames: a reader sees the old file or the new one."""
    document = _Document(FILE_FORMAT, [key.stored for key in root_keys])
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(temporary, flags, SECRET_MODE), "wb") as stream:
        stream.write(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(path)
    return f"key-file:{root_keys[-1].id}"
