"""Secrets a stand-in is started with: read from files, compared in constant time."""

import contextlib
import hmac
from pathlib import Path

TOKEN_BYTES_MIN = 8
TOKEN_BYTES_MAX = 1024
KEYS_MAX = 2


class TokenFileRefused(ValueError):
    """A token file is missing, empty or of an unlikely size. The message never shows its text."""


def read_token(path: Path, prefix: str = "") -> bytes:
    """Read one secret from a file, without the white space around it.

    Raises TokenFileRefused when it cannot be read, is too short or long, holds white space
    inside, or does not start with ``prefix``.
    """
    try:
        with path.open("rb") as stream:
            token = stream.read(TOKEN_BYTES_MAX + 2).strip()
    except OSError as error:
        raise TokenFileRefused(f"cannot read {path}: {error.strerror}") from None
    if not TOKEN_BYTES_MIN <= len(token) <= TOKEN_BYTES_MAX or len(token.split()) != 1:
        raise TokenFileRefused(f"{path} must hold one token of {TOKEN_BYTES_MIN} bytes or more")
    if not token.startswith(prefix.encode()):
        raise TokenFileRefused(f"{path} must hold a token that starts with {prefix}")
    return token


class KeyFile:
    """Keys that are accepted: one a line, two while one takes the other's place.

    The file is read again when it was written anew; what is no list of keys changes nothing.
    """

    def __init__(self, path: Path, prefix: str) -> None:
        """Raises TokenFileRefused."""
        self._path, self._prefix = path, prefix
        self._stamp = self._stamp_now()
        self._keys = self._read()

    def accepts(self, offered: str) -> bool:
        """Tell in constant time whether it is one of the keys."""
        stamp = self._stamp_now()
        if stamp is not None and stamp != self._stamp:
            with contextlib.suppress(TokenFileRefused):
                self._keys, self._stamp = self._read(), stamp
        # Each is compared, so that the time does not say which one it was.
        return sum(same_token(key, offered) for key in self._keys) > 0

    def keys(self) -> list[bytes]:
        """Return the keys as they now stand in the file, the newest first."""
        self.accepts("")
        return list(self._keys)

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _read(self) -> list[bytes]:
        try:
            with self._path.open("rb") as stream:
                keys = stream.read(KEYS_MAX * (TOKEN_BYTES_MAX + 2)).split()
        except OSError as error:
            raise TokenFileRefused(f"cannot read {self._path}: {error.strerror}") from None
        if not 0 < len(keys) <= KEYS_MAX:
            raise TokenFileRefused(f"{self._path} must hold one token a line, at most {KEYS_MAX}")
        for key in keys:
            if not TOKEN_BYTES_MIN <= len(key) <= TOKEN_BYTES_MAX:
                raise TokenFileRefused(
                    f"{self._path} must hold tokens of {TOKEN_BYTES_MIN} bytes or more"
                )
            if not key.startswith(self._prefix.encode()):
                raise TokenFileRefused(
                    f"{self._path} must hold tokens that start with {self._prefix}"
                )
        return keys


def same_token(expected: bytes, offered: str | None) -> bool:
    """Tell in constant time whether the offered text is the expected token."""
    return hmac.compare_digest(expected, (offered or "").encode("utf-8", "surrogateescape"))
