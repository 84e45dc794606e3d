"""Names that a page may speak of: commands, options, targets of make, files, operations, words."""

import argparse
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import PurePosixPath
from typing import Final

from strongroom.cli import make_parser
from strongroom.http.reference.table import OPERATIONS
from tests.docs.pages import ROOT, Page

COMMAND: Final = re.compile(r"^(?:\S*/)?strongroom (?P<words>[a-z].*)$")
MAKE: Final = re.compile(r"^make (?P<target>[a-z][a-z-]*)")
TARGET: Final = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)
OPERATION: Final = re.compile(r"^(?:(?P<method>GET|POST|PUT|PATCH|DELETE) )?(?P<path>/[^\s?]*)")
SNAKE: Final = re.compile(r"(?<![\w-])[a-z][a-z0-9]*(?:_[a-z0-9]+)+_?(?![\w-])")
FILE: Final = re.compile(r"^[\w.-]+(?:/[\w.*-]+)*/?$")
SUFFIXES: Final = frozenset(".py .sql .md .json .svg .css .html .toml .lock .yml .yaml .in".split())
LOOKED_IN: Final = ("", "src", "src/strongroom")
"""A path is told from the root of the repository or from the product's own folder."""
OURS: Final = ("src", "tests", "bench", "tools", "deploy", "docs", ".ci")
NOT_OURS: Final = (".strongroom", "HOME/", "postgres/", "secrets/", "logs/", "run/")
"""A home directory, and its folders."""
OF_POSTGRESQL: Final = "pg_"
HERE: Final = ROOT / "tests" / "docs"
WORDS_OF: Final = ("*.py", "*.sql", "*.json", "*.yml", "*.toml", "*.html")
WORD: Final = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+")


def command_lines(page: Page) -> Iterator[tuple[int, str]]:
    """Each line of a shell in blocks, and each span in backticks, with its line's number."""
    yield from page.spans
    for block in page.blocks:
        if block.language in ("sh", "console"):
            text = block.text.replace("\\\n", " ")
            for line in text.splitlines():
                yield block.line, line.strip().removeprefix("$ ")


def wrong_command(line: str) -> str | None:
    """Why this command of strongroom does not exist; None when it does, or is none."""
    found = COMMAND.match(line)
    if found is None:
        return None
    try:
        words = shlex.split(found["words"], comments=True)
    except ValueError:
        return "it cannot be read"
    parser: argparse.ArgumentParser = make_parser()
    for word in words:
        inner = _subcommands(parser)
        if word in ("|", "||", "&&", ">", ";"):
            return None
        if inner is not None and not word.startswith("-"):
            if word not in inner:
                return f"there is no {word}"
            parser = inner[word]
        elif word.startswith("--") and word.partition("=")[0] not in parser._option_string_actions:
            return f"there is no option {word}"
    return None


def targets() -> set[str]:
    """What make can be asked for."""
    return set(TARGET.findall((ROOT / "Makefile").read_text("utf-8")))


def asked_of_make(page: Page) -> Iterator[tuple[int, str]]:
    """The targets that a page names, with the number of the line."""
    for line, text in command_lines(page):
        if found := MAKE.match(text):
            yield line, found["target"]


def is_file_named(span: str) -> bool:
    """Whether a span names a file or folder of the repository."""
    if not FILE.match(span) or span.startswith(NOT_OURS) or "/" not in span:
        return False
    return (
        PurePosixPath(span).suffix in SUFFIXES
        or span.endswith("/")
        or span.startswith(tuple(f"{folder}/" for folder in OURS))
    )


def exists(span: str, page: Page) -> bool:
    """Whether a file or folder is there, seen from the root, the product or the page."""
    places = (*LOOKED_IN, str(PurePosixPath(page.path).parent))
    name = span.rstrip("/")
    if "/" not in name and list((ROOT / "src").rglob(name)):
        return True  # a folder, told without those that it lies in
    return any(list((ROOT / place).glob(name)) for place in places)


def operations() -> set[tuple[str, str]]:
    """Method and path of each, with every parameter as {}."""
    return {(one.method, _nameless(one.path)) for one in OPERATIONS}


def is_operation(span: str) -> bool | None:
    """Whether the path that a span names is served; None where it names none."""
    found = OPERATION.match(span)
    if found is None or not found["path"].startswith(("/v1", "/docs", "/readyz", "/livez")):
        return None
    path = _nameless(found["path"])
    return any(
        path == known and found["method"] in (None, method) for method, known in operations()
    )


@cache
def known_words() -> frozenset[str]:
    """Every word with an underscore that stands in the product, its tests or its tools."""
    files = [file for folder in OURS for kind in WORDS_OF for file in (ROOT / folder).rglob(kind)]
    files = [file for file in files if file.parent != HERE]  # which speaks of wrong names too
    return frozenset(word for file in files for word in WORD.findall(file.read_text("utf-8")))


def unknown_words(span: str) -> list[str]:
    """Names with underscores that nothing in the product bears; `charged_after_` may go on."""
    if is_file_named(span):
        return []
    return [word for word in SNAKE.findall(span) if not _is_known(word)]


def _is_known(word: str) -> bool:
    if word.startswith(OF_POSTGRESQL):
        return True
    if word.endswith("_"):
        return any(known.startswith(word) for known in known_words())
    return word in known_words()


def _subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser] | None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return None


def _nameless(path: str) -> str:
    return re.sub(r"\{\w+\}|(?<=/)(?:pay|ref)_\w+", "{}", path)
