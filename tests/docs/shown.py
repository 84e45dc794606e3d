"""What a page shows, held against what was really said.

Everything has to be equal but what is new each time. Ids are learnt: the first time that a shown id
stands where a real one does, it stands for that one from then on. A time stands for any time, `1.5
ms` for any number of that unit, `…` for anything in its line; a line of `…` alone is any number
of lines, in JSON any further members or items. How wide a column is does not matter.
"""

import json
import re
from typing import Any, Final

ELLIPSIS: Final = "…"
_ID: Final = (
    r"\b(?:pay|ref|ent|key|gwa|re|pi|ch|req|sub|cus|pm|txc|whe)_(?=[a-z]*[0-9])[0-9a-z]{8,}\b"
)
_TIME: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z"
_MEASURED: Final = r"\b\d+(?:\.\d+)? (?:ms|s)\b"
_SPECIAL: Final = re.compile(
    rf"(?P<id>{_ID})|(?P<time>{_TIME})|(?P<measured>{_MEASURED})|(?P<any>…)|(?P<space>[ \t]+)"
)
ID: Final = re.compile(_ID)


class Shown:
    """The ids of one page, and how its answers compare."""

    def __init__(self) -> None:
        self._real: dict[str, str] = {}

    def typed(self, text: str) -> str:
        """The text with the real ids in the place of those that are shown."""
        return ID.sub(lambda found: self._real.get(found[0], found[0]), text)

    def hold_text(self, shown: str, said: str) -> None:
        """Raises AssertionError when the lines are not as shown."""
        pattern, groups = "", dict[str, str]()
        for line in shown.strip("\n").split("\n"):
            if line.strip() in (ELLIPSIS, "..."):
                pattern += r"(?:.*\n)*?"
            else:
                pattern += self._pattern(line.strip(), groups) + r"\n"
        lines = [line.strip() for line in said.strip("\n").split("\n")]
        self._hold(pattern, groups, "\n".join(lines) + "\n", shown)

    def hold_json(self, shown: str, said: str) -> None:
        """Raises AssertionError when the document is not as shown, or is none."""
        wanted = json.loads(_with_ellipses(shown))
        try:
            found = json.loads(said)
        except ValueError:
            raise AssertionError(f"this is no JSON: {said!r}") from None
        self._hold_value(wanted, found, "$")

    def hold_http(self, shown: str, said: str) -> None:
        """Raises AssertionError when status line, the headers shown, or the body differ."""
        shown_head, _, shown_body = shown.partition("\n\n")
        said_head, _, said_body = said.replace("\r\n", "\n").partition("\n\n")
        wanted_status, *wanted = shown_head.strip().split("\n")
        status, *headers = said_head.split("\n")
        self.hold_text(wanted_status, status)
        lower = [_lower_name(line) for line in headers]
        for line in wanted:
            if line.strip() != ELLIPSIS:
                name = _lower_name(line).partition(":")[0]
                same = [header for header in lower if header.partition(":")[0] == name]
                assert same, f"the answer has no header {name}: {lower}"
                self.hold_text(_lower_name(line), same[0])
        if ELLIPSIS not in [line.strip() for line in wanted]:
            assert len(lower) == len(wanted), f"more headers than shown: {lower}"
        if shown_body.strip():
            self.hold_json(shown_body, said_body)

    def _hold(self, pattern: str, groups: dict[str, str], said: str, shown: str) -> None:
        found = re.fullmatch(pattern, said)
        assert found is not None, f"shown:\n{shown}\nsaid:\n{said}"
        for group, name in groups.items():
            self._real[name] = found[group]

    def _hold_value(self, wanted: Any, found: Any, path: str) -> None:
        if wanted == ELLIPSIS:
            return
        if isinstance(wanted, dict) and isinstance(found, dict):
            names = {name for name in wanted if name != ELLIPSIS}
            assert names <= found.keys(), f"{path} lacks {names - found.keys()}: {found}"
            more = found.keys() - names
            assert not more or ELLIPSIS in wanted, f"{path} has more than is shown: {more}"
            for name in names:
                self._hold_value(wanted[name], found[name], f"{path}.{name}")
        elif isinstance(wanted, list) and isinstance(found, list):
            first = wanted[:-1] if wanted[-1:] == [ELLIPSIS] else wanted
            fits = len(found) >= len(first) if first != wanted else len(found) == len(first)
            assert fits, f"{path} has {len(found)} items: {found}"
            for number, item in enumerate(first):
                self._hold_value(item, found[number], f"{path}[{number}]")
        elif isinstance(wanted, str) and isinstance(found, str):
            groups = dict[str, str]()
            self._hold(self._pattern(wanted, groups), groups, found, f"{path}: {wanted}")
        else:
            same = wanted == found and isinstance(wanted, bool) == isinstance(found, bool)
            assert same, f"{path} is {found!r}, shown is {wanted!r}"

    def _pattern(self, text: str, groups: dict[str, str]) -> str:
        """A regular expression for one line; `groups` gets the shown ids that it will learn."""
        made, end = "", 0
        for found in _SPECIAL.finditer(text):
            made += re.escape(text[end : found.start()])
            end = found.end()
            kind = found.lastgroup
            if kind == "id":
                made += self._pattern_of_id(found[0], groups)
            else:
                made += {
                    "time": _TIME, "measured": _MEASURED, "any": ".*", "space": r"[ \t]+",
                }[str(kind)]  # fmt: skip
        return made + re.escape(text[end:])

    def _pattern_of_id(self, shown: str, groups: dict[str, str]) -> str:
        if shown in self._real:
            return re.escape(self._real[shown])
        for group, name in groups.items():
            if name == shown:
                return f"(?P={group})"
        group = f"id{len(groups)}"
        groups[group] = shown
        return rf"(?P<{group}>{shown.partition('_')[0]}_[0-9a-z]+)"


def _lower_name(header: str) -> str:
    name, _, value = header.partition(":")
    return f"{name.strip().lower()}: {value.strip()}"


def _with_ellipses(shown: str) -> str:
    """JSON in which … outside of strings stands for further members, or items."""
    made, open_brackets, in_string, escaped = "", list[str](), False, False
    for character in shown:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        elif character in "{[":
            open_brackets.append(character)
        elif character in "}]":
            open_brackets.pop()
        elif character == ELLIPSIS:
            before = made.rstrip()[-1:]
            comma = "" if before in ("{", "[", ",", ":") else ","
            is_member = open_brackets[-1] == "{" and before != ":"
            made += comma + ('"…": 0' if is_member else '"…"')
            continue
        made += character
    return made
