"""The home directory of a deployment: what init wrote, and where secrets lie.

HOME/strongroom.json   mode and limits; no secret
HOME/secrets/          0700; one secret a file, 0600
HOME/log/              what the signer published, a folder for each legal entity
HOME/tombstones/       which subjects were destroyed, unless it lies elsewhere
"""

import os
import re
from datetime import timedelta
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from socket import AI_NUMERICHOST, getaddrinfo, gethostname
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

Mode = Literal["dev", "live"]

FILE: Final = "strongroom.json"
TOMBSTONES: Final = "tombstones"
KEY_FILE: Final = "key-file"
AWS_KMS: Final = "aws-kms:"
_INTEGRITY: Final = re.compile(r"sha(?:256|384|512)-[A-Za-z0-9+/]{43,86}={0,2}")
AWS_KEY_ARN: Final = re.compile(
    r"arn:(?P<partition>aws|aws-cn|aws-us-gov):kms:(?P<region>[a-z]{2}(?:-[a-z]+)+-\d):\d{12}"
    r":key/[A-Za-z0-9-]{1,128}"
)
"""The key itself, not an alias of it, which somebody could point at another key."""
_UNSET: Final = "http://checkout.localhost:"
"""Where live mode stands until a page is wanted: `strongroom checkout` refuses it there."""
FORMER_ROOT_KEYS_MAX: Final = 16
WITNESSES_MAX: Final = 16
WINDOW_SECONDS_MIN: Final = 60
"""In live mode: a witness that did not answer is asked again after as long."""
WINDOW_SECONDS_MAX: Final = 86_400
_WITNESS_KEY: Final = re.compile(r"[^+\s]{1,255}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}")
SECRET_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700


class ConfigurationError(Exception):
    """The home directory does not hold what is needed; the message says what to do."""


class WitnessAt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A witness that the signer asks: where, and by which public key it is known."""

    url: str
    key: str

    def __post_init__(self) -> None:
        """Raises ValueError."""
        parts = urlsplit(self.url)
        if not _is_private(self.url) or parts.username is not None or parts.query or parts.fragment:
            raise ValueError("the url of a witness must be https, or http on loopback")
        if not _WITNESS_KEY.fullmatch(self.key):
            raise ValueError("the key of a witness must be NAME+ID+BASE64")


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What HOME/strongroom.json may say."""

    mode: Mode = "dev"
    api_url: str = "http://127.0.0.1:8080"
    checkout_url: str = "http://checkout.localhost:8083"
    """The origin of the page on which customers pay; no other may be served there."""
    checkout_proxies: tuple[str, ...] = ()
    """Addresses of proxies before that page, whose X-Forwarded-For is believed."""
    checkout_integrity: dict[Literal["braintree"], str] = {}
    """The digest that a gateway's script must have on that page, as `sha384-` and base64."""
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
    kms: str = KEY_FILE
    """Who holds the root key: `key-file` (dev only) or `aws-kms:` and the ARN of a key."""
    kms_former: tuple[str, ...] = ()
    """Root keys that wrap no more, but still unwrap: `aws-kms:` and an ARN each."""
    kms_endpoint: str | None = None
    """In dev, another server that speaks the protocol of AWS KMS, on loopback."""
    tombstones: str | None = None
    """The folder with the journal of destroyed subjects; HOME/tombstones unless it says another."""
    witnesses: tuple[WitnessAt, ...] = ()
    """Who cosigns the checkpoints of the logs; the signer sends them."""
    log_window_seconds: int = 1800
    """How old an event may be that no witness has seen, before no money is moved in live mode."""
    log_window_in_dev: bool = False
    """Whether that holds in dev mode, too."""
    webhooks_to_loopback: bool = False
    """In dev, an endpoint for webhooks may be http, and on this machine."""

    def __post_init__(self) -> None:
        """Raises ValueError for what no process could work with."""
        if self.traces_one_in < 1:
            raise ValueError("traces_one_in must be at least 1")
        if self.traces_url is not None and not _is_private(self.traces_url):
            raise ValueError("traces_url must be https, or http on loopback")
        if not all(map(_INTEGRITY.fullmatch, self.checkout_integrity.values())):
            raise ValueError("checkout_integrity must be sha256-, sha384- or sha512- and base64")
        if self.kms != KEY_FILE and not _is_aws_key(self.kms):
            raise ValueError(
                "kms must be `key-file` or `aws-kms:` and the ARN of a key, not of an alias"
            )
        if len(self.kms_former) > FORMER_ROOT_KEYS_MAX or not all(
            map(_is_aws_key, self.kms_former)
        ):
            raise ValueError(
                f"kms_former must be at most {FORMER_ROOT_KEYS_MAX} times `aws-kms:` and an ARN"
            )
        if self.kms_endpoint is not None and not (
            self.mode == "dev" and _is_loopback(self.kms_endpoint)
        ):
            raise ValueError("kms_endpoint is for mode dev alone, and must be on loopback")
        if self.webhooks_to_loopback and self.mode != "dev":
            raise ValueError("webhooks_to_loopback is for mode dev alone")
        self._check_witnesses()
        parts = urlsplit(self.checkout_url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path or parts.query:
            raise ValueError("checkout_url must be an origin, as https://pay.example.com")
        if self.mode == "live" and not self.checkout_url.startswith(("https://", _UNSET)):
            raise ValueError("checkout_url must be https in live mode")
        if self.tombstones is not None and not Path(self.tombstones).is_absolute():
            raise ValueError("tombstones must be the absolute path of a folder")

    def _check_witnesses(self) -> None:
        keys = {witness.key for witness in self.witnesses}
        if len(self.witnesses) > WITNESSES_MAX or len(keys) < len(self.witnesses):
            raise ValueError(f"witnesses must be at most {WITNESSES_MAX}, each with its own key")
        least = WINDOW_SECONDS_MIN if self.mode == "live" else 1
        if not least <= self.log_window_seconds <= WINDOW_SECONDS_MAX:
            raise ValueError(f"log_window_seconds must be {least} to {WINDOW_SECONDS_MAX}")
        if self.log_window_in_dev and not self.witnesses:
            raise ValueError("log_window_in_dev needs one of the witnesses at least")

    @property
    def witnesses_elsewhere(self) -> tuple[WitnessAt, ...]:
        """Those that are not on this machine, by their addresses."""
        return tuple(one for one in self.witnesses if not is_on_this_machine(one.url))

    @property
    def gateway_deadline(self) -> timedelta:
        """How long a gateway may take before its answer counts as unknown."""
        return timedelta(seconds=self.gateway_deadline_seconds)


class Home:
    """One deployment's directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.secrets = path / "secrets"
        self.logs = path / "log"

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

    def tombstones(self) -> Path:
        """The folder with the journal of destroyed subjects. Raises ConfigurationError."""
        settings = self.settings() if (self.path / FILE).exists() else Settings()
        return Path(settings.tombstones or self.path / TOMBSTONES)

    def write_settings(self, settings: Settings) -> None:
        """Replaces the file whole."""
        self.path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        replace_file(self.path / FILE, msgspec.json.format(msgspec.json.encode(settings)), 0o644)

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
        replace_file(file, text.encode() + b"\n", SECRET_MODE)
        return file


def _is_private(url: str) -> bool:
    """Whether nobody in between can read what is sent there."""
    return _is_loopback(url) or (
        urlsplit(url).scheme == "https" and urlsplit(url).hostname is not None
    )


def _is_loopback(url: str) -> bool:
    """Whether it is HTTP or HTTPS, and does not leave this machine."""
    parts = urlsplit(url)
    loopback = parts.hostname in ("127.0.0.1", "::1", "localhost")
    return loopback and parts.scheme in ("http", "https")


def is_on_this_machine(url: str) -> bool:
    """Whether the host of a URL is this machine by its name or its address, however written.

    A name that only a resolver takes here is not found out.
    """
    host = (urlsplit(url).hostname or "").rstrip(".").partition("%")[0]
    if host == "localhost" or host.endswith(".localhost") or host == gethostname().lower():
        return True
    try:
        found = getaddrinfo(host, None, flags=AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return False  # it is a name
    address = ip_address(found[0][4][0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_unspecified


def _is_aws_key(name: str) -> bool:
    return name.startswith(AWS_KMS) and bool(AWS_KEY_ARN.fullmatch(name.removeprefix(AWS_KMS)))


def replace_file(file: Path, content: bytes, mode: int) -> None:
    """Writes beside it, syncs, and renames: a reader sees the old file or the new one.

    What it writes to is new, whoever else may write in that folder, and is gone where it fails.
    """
    temporary = file.with_name(f".{file.name}.{os.urandom(8).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
