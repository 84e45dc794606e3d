"""Secrets a stand-in is started with: read from files, compared in constant time."""

import hmac
from pathlib import Path

TOKEN_BYTES_MIN = 8
TOKEN_BYTES_MAX = 1024


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


def same_token(expected: bytes, offered: str | None) -> bool:
    """Tell in constant time whether the offered text is the expected token."""
    return hmac.compare_digest(expected, (offered or "").encode("utf-8", "surrogateescape"))
