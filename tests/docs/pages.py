"""The pages of the documentation, taken apart into blocks of code and spans in backticks."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PLACES: Final = ("*.md", "bench/*.md", "deploy/**/*.md", "docs/**/*.md")

FENCE: Final = re.compile(r"^(?P<indent> *)(?P<fence>```+|~~~+) *(?P<info>.*?) *$")
MARKER: Final = re.compile(r"^ *<!-- not run: (?P<reason>.+?) -->$")
SPAN: Final = re.compile(r"(?<!`)`([^`]+)`(?!`)")
LIST_ITEM: Final = re.compile(r"^ *(?:[-*+]|\d+\.) ")

COMMANDS: Final = frozenset({"sh", "console", "python"})
"""What is run."""
ANSWERS: Final = frozenset({"json", "http", "text"})
"""What the block before it has to say, or, naming a schema, what fits that."""


@dataclass(frozen=True)
class Block:
    """One fenced block: its first line of content, from 1, and the reason if it is not run."""

    page: str
    line: int
    language: str
    words: tuple[str, ...]
    text: str
    not_run: str | None = None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def schema(self) -> str | None:
        """The schema that a block of JSON names as its own: `json schema=Problem`."""
        named = [word.removeprefix("schema=") for word in self.words if word.startswith("schema=")]
        return named[0] if named else None


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: str
    text: str

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Its fenced blocks, in order. Raises ValueError for a fence that is never closed."""
        return tuple(self._blocks())

    @cached_property
    def spans(self) -> tuple[tuple[int, str], ...]:
        """What stands in backticks in its prose, with the number of the line it begins on."""
        prose = "\n".join(self._prose())
        return tuple(
            (prose.count("\n", 0, found.start()) + 1, " ".join(found[1].split()))
            for found in SPAN.finditer(prose)
        )

    @cached_property
    def indented(self) -> tuple[int, ...]:
        """Lines of code that stand in no fence, where nobody would look for them."""
        lines = self._prose()
        before = ["", *lines]
        return tuple(
            number
            for number, line in enumerate(lines, 1)
            if line.startswith("    ")
            and not before[number - 1].strip()
            and not _in_list(lines, number)
        )

    def _blocks(self) -> Iterator[Block]:
        lines = self.text.splitlines()
        number = 0
        while number < len(lines):
            opened = FENCE.match(lines[number])
            number += 1
            if opened is None:
                continue
            begun, indent = number, len(opened["indent"])
            while number < len(lines) and lines[number].strip() != opened["fence"]:
                number += 1
            if number == len(lines):
                raise ValueError(f"{self.path}:{begun}: this fence is never closed")
            language, *words = opened["info"].split() or [""]
            content = [line[indent:] for line in lines[begun:number]]
            yield Block(
                self.path, begun + 1, language, tuple(words), "\n".join(content) + "\n",
                _reason(lines[: begun - 1]),
            )  # fmt: skip
            number += 1

    def _prose(self) -> list[str]:
        """All lines, those in fences empty."""
        lines, fence = [], None
        for line in self.text.splitlines():
            found = FENCE.match(line)
            if fence is None and found is not None:
                fence = found["fence"]
                lines.append("")
            elif fence is not None:
                fence = None if line.strip() == fence else fence
                lines.append("")
            else:
                lines.append(line)
        return lines


def pages() -> list[Page]:
    """Every page, sorted by path."""
    files = {file for place in PLACES for file in ROOT.glob(place)}
    return [
        Page(file.relative_to(ROOT).as_posix(), file.read_text("utf-8")) for file in sorted(files)
    ]


def _reason(before: list[str]) -> str | None:
    """What the marker above a block says; one empty line may stand between."""
    above = before[:-1] if before and not before[-1].strip() else before
    found = MARKER.match(above[-1]) if above else None
    return found["reason"] if found else None


def _in_list(lines: list[str], number: int) -> bool:
    """Whether the indented line goes on with an item of a list."""
    for line in reversed(lines[: number - 1]):
        if LIST_ITEM.match(line):
            return True
        if line.strip() and not line.startswith("  "):
            return False
    return False
