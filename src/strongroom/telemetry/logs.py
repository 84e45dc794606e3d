"""Logs: JSON lines that hold nothing but keys of an allow-list, with bounded values.

A key that is not on the list is dropped and counted, and so is one whose value is a secret. Of an
exception only its type and its place are told: messages of the database's driver hold rows, those
of a gateway what it was sent. Runs of digits as long as a card number are blotted out wherever they
stand, and card numbers in any disguise that vault/cards.py knows.
"""

import logging
import re
import sys
import threading
from collections import Counter
from collections.abc import MutableMapping
from typing import Any, Final, TextIO
from uuid import UUID

import structlog

from strongroom.errors import described
from strongroom.telemetry.request_ids import current_request_id
from strongroom.vault.cards import BLOT, blotted, holds_card_number
from strongroom.vault.secret import Secret

KEYS: Final = frozenset(
    "batch error gateway host ids items level logger milliseconds mode operation port reason "
    "sessions table where".split()
)
"""What a line may say, beside its event, level and time and the request that it belongs to."""
TEXT_CHARACTERS_MAX: Final = 200
TEXT_CHARACTERS_READ: Final = 10 * TEXT_CHARACTERS_MAX
"""Blotting shrinks a text to no less than a sixth, so that what was cut here is never written."""
LIST_ITEMS_MAX: Final = 50
NUMBER_MAX: Final = 10**12
"""Thirteen digits are the shortest card number."""
EVENTS_COUNTED_MAX: Final = 200

_EVENT: Final = re.compile(r"[a-z][a-z0-9_]{0,59}")

_log = structlog.get_logger()

Line = MutableMapping[str, Any]


class Tally:
    """How many lines this process wrote, by event and level, and how many keys it left out."""

    def __init__(self) -> None:
        self.lines: Counter[tuple[str, str]] = Counter()
        self.keys_dropped = 0

    def count(self, event: str, level: str, dropped: int) -> None:
        """One line more."""
        key = (event, level)
        if key not in self.lines and len(self.lines) >= EVENTS_COUNTED_MAX:
            key = ("other", level)
        self.lines[key] += 1
        self.keys_dropped += dropped


TALLY: Final = Tally()


def allow_listed(_logger: object, level: str, line: Line) -> Line:
    """A structlog processor: what of a line may be written, and nothing else."""
    event = line.pop("event", None)
    named = event if isinstance(event, str) and _is_name(event) else "unnamed"
    allowed: Line = {"event": named, "level": bounded(line.pop("level", level))}
    request_id = current_request_id()
    if request_id is not None:
        allowed["request_id"] = request_id
    exception = _exception_of(line)
    if exception is not None:
        line.update(described(exception))
    dropped = 0
    for key, value in line.items():
        if key in KEYS and not holds_secret(value):
            allowed[key] = bounded(value)
        else:
            dropped += 1
    if dropped:
        allowed["keys_dropped"] = dropped
    TALLY.count(named, str(allowed["level"]), dropped)
    return allowed


def holds_secret(value: object) -> bool:
    """Whether a value is a secret, or a list with one in it: then nothing of it is written."""
    if isinstance(value, list | tuple):
        return any(isinstance(item, Secret) for item in value)
    return isinstance(value, Secret)


def bounded(value: object) -> object:
    """A value that is safe to write: short, flat, and without what could be a card number.

    Of what is neither text, number nor a list of these only its type is told.
    """
    match value:
        case None | bool():
            return value
        case int() | float():
            return value if abs(value) < NUMBER_MAX else BLOT
        case str():
            return _bounded_text(value)
        case UUID():
            return str(value)
        case list() | tuple() | set() | frozenset():
            return [
                bounded(item) if isinstance(item, str | int | float | UUID) else _type_of(item)
                for item in list(value)[:LIST_ITEMS_MAX]
            ]
        case _:
            return _type_of(value)


def _bounded_text(text: str) -> str:
    # Cut after the blotting: half a card number is no longer found, but still half of one.
    return blotted(text[:TEXT_CHARACTERS_READ])[:TEXT_CHARACTERS_MAX]


def _is_name(event: str) -> bool:
    return _EVENT.fullmatch(event) is not None and not holds_card_number(event.encode())


def _type_of(value: object) -> str:
    return f"[{type(value).__name__}]"


def _exception_of(line: Line) -> BaseException | None:
    """The exception that a caller handed to the log, in any of the ways that structlog knows."""
    given = line.pop("exc_info", None)
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple):
        return given[1] if len(given) > 1 else None
    return sys.exc_info()[1] if given else None


class _LibraryLogs(logging.Handler):
    """What libraries warn of, without their words: those may hold what a caller sent."""

    def emit(self, record: logging.LogRecord) -> None:
        """Says which library, and where in it."""
        where = f"{record.filename}:{record.lineno}"
        _log.log(record.levelno, "library_log", logger=record.name, where=where)


def set_up_logs(stream: TextIO | None = None) -> None:
    """JSON lines by the allow-list, of us, of libraries and of a crash; on stderr by default."""
    logging.basicConfig(handlers=[_LibraryLogs()], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)
    # What Python would print on its own, with the words of the error.
    sys.excepthook = lambda _type, error, _: _log.error("process_failed", **described(error))
    threading.excepthook = lambda told: _log.error("thread_failed", **_described(told.exc_value))
    sys.unraisablehook = lambda told: _log.error("error_unraisable", **_described(told.exc_value))
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            allow_listed,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=stream or sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )


def _described(error: BaseException | None) -> dict[str, object]:
    return {} if error is None else described(error)
