"""The file of routes, HOME/routes.toml: read strictly, and read anew when it has changed.

A file that cannot be read as it stands is refused as a whole, with the line that is wrong; a
process that runs goes on with what it had.
"""

import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, get_args

import structlog

from strongroom.clock import monotonic_seconds
from strongroom.config import ConfigurationError
from strongroom.gateways.routing import Capability, Health, Rule
from strongroom.ids import MalformedId, from_text
from strongroom.money import AMOUNT_MINOR_MAX, EXPONENTS
from strongroom.payments.states import Capture

FILE: Final = "routes.toml"
RULES_MAX: Final = 200
USE_MAX: Final = 8
FILE_BYTES_MAX: Final = 256 * 1024
LOOK_SECONDS: Final = 2.0
"""Between two looks at whether the file has changed."""
NAME: Final = re.compile(r"[\x20-\x7e]{1,80}")
COUNTRY: Final = re.compile(r"[A-Z]{2}")

log = structlog.get_logger()


class _Wrong(Exception):
    """What is wrong with one key of one rule."""


def read_rules(text: str, gateways: Sequence[str]) -> tuple[Rule, ...]:
    """The rules in a text. Raises ConfigurationError, which names the line and what is wrong."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{FILE}: {error}") from None
    lines = _lines(text)
    for key in document:
        if key != "rule":
            raise _refusal(_line_of(text, key), f"{key} is not known; there is only [[rule]]")
    tables = document.get("rule", [])
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise _refusal(1, "each rule begins with [[rule]]")
    if len(tables) > RULES_MAX:
        raise _refusal(1, f"there are more than {RULES_MAX} rules")
    rules = [_rule(table, index, lines, gateways) for index, table in enumerate(tables)]
    names: set[str] = set()
    for index, rule in enumerate(rules):
        if rule.name in names:
            line = lines.get((index, "name"), rule.line)
            raise _refusal(line, f"another rule has the name {rule.name!r}")
        names.add(rule.name)
    return tuple(rules)


def _rule(
    table: dict[str, Any], index: int, lines: dict[tuple[int, str], int], gateways: Sequence[str]
) -> Rule:
    head = lines.get((index, ""), 1)
    for key in ("name", "use"):
        if key not in table:
            raise _refusal(head, f"the rule has no {key}")
    found: dict[str, Any] = {"line": head}
    for key, value in table.items():
        line = lines.get((index, key), head)
        if key not in _KEYS:
            raise _refusal(line, f"{key} is not known; a rule takes {', '.join(_KEYS)}")
        try:
            field, read = _KEYS[key]
            found[field] = read(value)
        except _Wrong as wrong:
            raise _refusal(line, f"{key} {wrong}") from None
    line = lines.get((index, "use"), head)
    for name in found["use"]:
        if name not in gateways and not _is_account(name):
            known = ", ".join(gateways)
            raise _refusal(line, f"use names {name!r}: neither an account (gwa_…) nor {known}")
    low, high = found.get("amount_from"), found.get("amount_below")
    if low is not None and high is not None and low >= high:
        raise _refusal(lines.get((index, "amount_below"), head), "amount_below is not above it")
    return Rule(**found)


def _texts(value: Any, most: int) -> tuple[str, ...]:
    many = value if isinstance(value, list) else [value]
    if not 1 <= len(many) <= most or not all(isinstance(one, str) for one in many):
        raise _Wrong(f"takes a text, or a list of 1 to {most}")
    if len(set(many)) != len(many):
        raise _Wrong("names one twice")
    return tuple(many)


def _name(value: Any) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise _Wrong("takes 1 to 80 printable characters")
    return value


def _use(value: Any) -> tuple[str, ...]:
    return _texts(value, USE_MAX)


def _entity(value: Any) -> Any:
    try:
        return from_text("ent", value if isinstance(value, str) else "")
    except MalformedId:
        raise _Wrong("takes the id of a legal entity, ent_…") from None


def _currencies(value: Any) -> frozenset[str]:
    found = frozenset(_texts(value, len(EXPONENTS)))
    for one in sorted(found - set(EXPONENTS)):
        raise _Wrong(f"names {one!r}, which is no currency")
    return found


def _countries(value: Any) -> frozenset[str]:
    found = _texts(value, 260)
    for one in found:
        if not COUNTRY.fullmatch(one):
            raise _Wrong(f"names {one!r}: a country is two capital letters")
    return frozenset(found)


def _amount(value: Any) -> int:
    if type(value) is not int or not 0 < value <= AMOUNT_MINOR_MAX:
        raise _Wrong("takes a whole number of the currency's minor unit")
    return value


def _capture(value: Any) -> str:
    if value not in get_args(Capture):
        raise _Wrong("takes " + " or ".join(get_args(Capture)))
    return str(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong("takes true or false")
    return value


def _needs(value: Any) -> frozenset[str]:
    found = frozenset(_texts(value, len(get_args(Capability))))
    for one in sorted(found - set(get_args(Capability))):
        raise _Wrong(f"names {one!r}; there are {', '.join(get_args(Capability))}")
    return found


def _days(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= 366:
        raise _Wrong("takes a number of days")
    return value


def _health(value: Any) -> str:
    if value not in get_args(Health):
        raise _Wrong("takes " + " or ".join(get_args(Health)))
    return str(value)


_KEYS: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "name": ("name", _name),
    "use": ("use", _use),
    "entity": ("entity", _entity),
    "currency": ("currency", _currencies),
    "country": ("country", _countries),
    "amount_from": ("amount_from", _amount),
    "amount_below": ("amount_below", _amount),
    "capture": ("capture", _capture),
    "off_session": ("off_session", _flag),
    "saves": ("saves", _flag),
    "needs": ("needs", _needs),
    "payout_days_max": ("payout_days_max", _days),
    "health": ("health", _health),
}
"""By key of the file, the field of Rule and what reads it."""


def _is_account(name: str) -> bool:
    try:
        from_text("gwa", name)
    except MalformedId:
        return False
    return True


def _lines(text: str) -> dict[tuple[int, str], int]:
    """By rule and key, the line; under the key `` the line of the rule's head.

    Only for messages: a key inside of a text of several lines may mislead it, never what is read.
    """
    found: dict[tuple[int, str], int] = {}
    index = -1
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(r"\s*\[\[\s*rule\s*\]\]", line):
            index += 1
            found[index, ""] = number
        key = re.match(r"\s*\"?([A-Za-z0-9_-]+)\"?\s*=", line)
        if key is not None and index >= 0:
            found.setdefault((index, key[1]), number)
    return found


def _line_of(text: str, key: str) -> int:
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(rf"\s*\[*\s*\"?{re.escape(key)}\b", line):
            return number
    return 1


def _refusal(line: int, what: str) -> ConfigurationError:
    return ConfigurationError(f"{FILE} line {line}: {what}.")


class Routes:
    """The rules of a deployment as they now stand; none where there is no file.

    Asked often; looks at the file every LOOK_SECONDS. What is wrong with a changed file is said in
    the log, and what was read before goes on.
    """

    def __init__(
        self,
        home: Path,
        gateways: Sequence[str],
        now: Callable[[], float] = monotonic_seconds,
    ) -> None:
        self._file, self._gateways, self._now = home / FILE, gateways, now
        self._rules: tuple[Rule, ...] = ()
        self._seen: tuple[int, int, int] | None = None
        self._looked = now()
        self._seen = self._stamp()
        self._rules = self.read()

    def __call__(self) -> tuple[Rule, ...]:
        """The rules."""
        if self._now() - self._looked >= LOOK_SECONDS:
            self._looked = self._now()
            self._look()
        return self._rules

    def read(self) -> tuple[Rule, ...]:
        """What the file says now. Raises ConfigurationError for what cannot be read."""
        try:
            raw = self._file.read_bytes()
        except FileNotFoundError:
            return ()
        if len(raw) > FILE_BYTES_MAX:
            raise ConfigurationError(f"{FILE} has more than {FILE_BYTES_MAX} bytes.")
        try:
            return read_rules(raw.decode(), self._gateways)
        except UnicodeDecodeError:
            raise ConfigurationError(f"{FILE} is not UTF-8.") from None

    def _look(self) -> None:
        try:
            stamp = self._stamp()
            if stamp == self._seen:
                return
            self._seen = stamp
            self._rules = self.read()
        except (ConfigurationError, OSError) as error:
            log.warning("routes_not_read", reason=str(error))
            return
        log.info("routes_read", items=len(self._rules))

    def _stamp(self) -> tuple[int, int, int] | None:
        """What changes with the file; None while there is none."""
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
