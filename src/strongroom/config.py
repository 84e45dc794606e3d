"""The home directory of a deployment: what init wrote, and where secrets lie.

HOME/strongroom.json   mode and limits; no secret
HOME/secrets/          0700; one secret a file, 0600
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

Mode = Literal["dev", "live"]

FILE: Final = "strongroom.json"
SECRET_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700


class ConfigurationError(Exception):
    """The home directory does not hold what is needed; the message says what to do."""


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What HOME/strongroom.json may say."""

    mode: Mode = "dev"
    api_url: str = "http://127.0.0.1:8080"
    gateway_deadline_seconds: float = 20.0
    accept_writers: int = 1
    accept_batch_max: int = 512
    worker_in_flight_max: int = 1024
    telemetry: bool = True
    """Metrics and traces; logs and request ids are always there."""
    traces_url: str | None = None
    """Where a collector takes spans by OTLP over HTTP, as `http://127.0.0.1:4318/v1/traces`."""
    traces_one_in: int = 1000
    """One in so many payments is traced."""
    traces_trust_callers: bool = False
    """Whether a caller's `traceparent` decides that its request is traced, in its own trace."""

    def __post_init__(self) -> None:
        """Raises ValueError for what no process could work with."""
        if self.traces_one_in < 1:
            raise ValueError("traces_one_in must be at least 1")
        if self.traces_url is not None and not _is_private(self.traces_url):
            raise ValueError("traces_url must be https, or http on loopback")

    @property
    def gateway_deadline(self) -> timedelta:
        """How long a gateway may take before its answer counts as unknown."""
        return timedelta(seconds=self.gateway_deadline_seconds)


class Home:
    """One deployment's directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.secrets = path / "secrets"

    def settings(self) -> Settings:
        """What the file says. Raises ConfigurationError when it is missing or wrong."""
        file = self.path / FILE
        try:
            return msgspec.json.decode(file.read_bytes(), type=Settings)
        except FileNotFoundError:
            raise ConfigurationError(
                f"{file} is missing: run `strongroom init --home {self.path}` first."
            ) from None
        except msgspec.MsgspecError as error:
            raise ConfigurationError(f"{file} cannot be read: {error}") from None

    def write_settings(self, settings: Settings) -> None:
        """Replaces the file whole."""
        self.path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        _replace(self.path / FILE, msgspec.json.format(msgspec.json.encode(settings)), 0o644)

    def secret(self, name: str) -> str:
        """A secret's text. Raises ConfigurationError when it is missing or others can read it."""
        file = self.secrets / name
        try:
            readable = file.stat().st_mode & 0o077
            text = file.read_text("utf-8").strip()
        except FileNotFoundError:
            raise ConfigurationError(
                f"{file} is missing: run `strongroom init --home {self.path}` first."
            ) from None
        if readable:
            raise ConfigurationError(f"{file} can be read by others: run `chmod 600 {file}`.")
        return text

    def has_secret(self, name: str) -> bool:
        """Whether there is a secret of this name."""
        return (self.secrets / name).exists()

    def write_secret(self, name: str, text: str) -> Path:
        """Writes a secret, readable by its owner only; returns its file."""
        self.secrets.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        self.secrets.chmod(FOLDER_MODE)
        file = self.secrets / name
        _replace(file, text.encode() + b"\n", SECRET_MODE)
        return file


def _is_private(url: str) -> bool:
    """Whether nobody in between can read what is sent there."""
    parts = urlsplit(url)
    loopback = parts.hostname in ("127.0.0.1", "::1", "localhost")
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and loopback)
    )


def _replace(file: Path, content: bytes, mode: int) -> None:
    """Writes beside it, syncs, and renames: a reader sees the old file or the new one."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(file)
