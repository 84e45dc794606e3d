"""What may not stand in SQL of the money path, nor in any file that is published."""

import re
from collections.abc import Iterator
from posixpath import dirname, join, normpath
from typing import Final

from tests.tidy.source import ROOT, Finding, Source

_TIME_IS_A_PARAMETER: Final = "time is a parameter of every statement: a test's clock rules"

# (what is found, why not and what instead). The contract in depth has a test of its own.
_SQL: Final = [
    (r"\b(?:now|timeofday|(?:clock|statement|transaction)_timestamp)\s*\(", _TIME_IS_A_PARAMETER),
    (r"\b(?:current_(?:timestamp|date|time)|localtime(?:stamp)?)\b", _TIME_IS_A_PARAMETER),
    (
        r"\b(?:un)?listen\b|\bnotify\b|\bpg_notify\b",
        "LISTEN and NOTIFY do not work on a distributed database: poll by batch",
    ),
    (
        r"\bpg_(?:try_)?advisory_\w+",
        "advisory locks do not work on a distributed database: claim a row",
    ),
    (
        r"\b(?:big|small)?serial[248]?\b|\bsequence\b|\bnextval\b|\bas\s+identity\b",
        "numbers from a sequence commit out of order: use a UUIDv7",
    ),
    (r"\btrigger\b", "an owner disables triggers, and nobody sees them: write it in the statement"),
    (r"\bsavepoint\b", "a transaction is retried whole: halve the batch instead"),
]
SQL_FORBIDDEN: Final = [(re.compile(pattern, re.IGNORECASE), why) for pattern, why in _SQL]
SQL_COMMENT: Final = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)

MACHINE_PATH: Final = re.compile(
    r"(?<![\w.~/)}-])/(?:home|Users|root|work|workspaces?|builds|runner)/[\w.-]|\b[A-Z]:\\Users\\"
)
# Written in pieces, so that this file does not find itself.
REGISTRY_HOST: Final = re.compile(
    "|".join(
        re.escape(".".join(host))
        for host in [
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("registry", "npmjs"),
            ("registry", "yarnpkg"),
            ("proxy", "golang"),
            ("maven", "org"),
            ("crates", "io"),
            ("deb", "debian", "org"),
        ]
    )
    + r"|--(?:extra-)?index-url|--find[-]links|--trusted[-]host|\bartifactory\b|\bnexus\."
)
SECRET: Final = re.compile(
    r"\b[sr]k_live_\w{8,}"
    r"|\b[sr]k_test_[A-Za-z0-9]{24,}"
    r"|\bwhsec_[A-Za-z0-9+/]{24,}"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}"
    r"|\bxox[abp]-[\w-]{10,}"
    r"|\beyJ[\w-]{16,}\.eyJ[\w-]{16,}\."
    r"|\b[a-z][a-z0-9+]*://[^\s:/@\"'{}$<>]+:[^\s:/@\"'{}$<>]{8,}@"
    r"|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"
)

LINK: Final = re.compile(r"!?\[[^\]\n]*\]\(\s*<?([^)\s>]+)>?[^)\n]*\)|^\[[^\]\n]+\]:\s*(\S+)")
PICTURES: Final = (".png",)
HEADING: Final = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")
FENCE: Final = re.compile(r"^\s*(```|~~~)")
ELSEWHERE: Final = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)


def sql_words(source: Source) -> Iterator[Finding]:
    """The same SQL runs on one PostgreSQL and on a distributed one."""
    code = SQL_COMMENT.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), source.text)
    for number, line in enumerate(code.splitlines(), 1):
        for pattern, why in SQL_FORBIDDEN:
            if found := pattern.search(line):
                yield Finding(source.path, number, f"{found[0].strip()!r} in SQL: {why}")


def machine_paths(source: Source) -> Iterator[Finding]:
    """A path of one machine means nothing on another."""
    yield from _each_line(
        source, MACHINE_PATH, "is a path of one machine: make it relative, or a parameter"
    )


def registry_hosts(source: Source) -> Iterator[Finding]:
    """Where packages come from is the installer's configuration; hashes say what they are."""
    yield from _each_line(
        source, REGISTRY_HOST, "names where packages come from: leave that to the machine's pip"
    )


def secrets(source: Source) -> Iterator[Finding]:
    """No credential stands in a file, not even an old one."""
    yield from _each_line(
        source,
        SECRET,
        "looks like a secret: take it out, revoke it if it was ever real, make test keys at run "
        "time",
        show=False,
    )


def links(sources: tuple[Source, ...]) -> Iterator[Finding]:
    """A relative link in Markdown leads to a file of the repository, and its #part to a heading."""
    texts = {source.path: source for source in sources}
    folders = {"."}
    for path in texts:
        while path := dirname(path):
            folders.add(path)
    for source in sources:
        if source.suffix != ".md":
            continue
        for number, line in _prose(source):
            for found in LINK.finditer(re.sub(r"`[^`]*`", "", line)):
                target = found[1] or found[2]
                if ELSEWHERE.match(target):
                    continue
                problem = _broken(source.path, target, texts, folders)
                if problem:
                    yield Finding(source.path, number, f"link {target}: {problem}")


def _broken(here: str, target: str, texts: dict[str, Source], folders: set[str]) -> str | None:
    path, _, part = target.partition("#")
    start = "" if path.startswith("/") else dirname(here)
    there = normpath(join(start, path.lstrip("/"))) if path else here
    if there.endswith(PICTURES) and (ROOT / there).is_file():
        return None  # it has no text, so it is not among them
    if there not in texts:
        return None if there in folders else f"there is no {there} in the repository"
    if part and there.endswith(".md") and part not in _anchors(texts[there]):
        return f"{there} has no heading for #{part}"
    return None


def _anchors(source: Source) -> set[str]:
    headings = (HEADING.match(line) for _, line in _prose(source))
    return {
        re.sub(r"[^\w\- ]", "", heading[1].lower()).replace(" ", "-")
        for heading in headings
        if heading
    }


def _prose(source: Source) -> Iterator[tuple[int, str]]:
    """Numbered lines outside fenced code."""
    fenced = False
    for number, line in enumerate(source.lines, 1):
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            yield number, line


def _each_line(
    source: Source, pattern: re.Pattern[str], advice: str, *, show: bool = True
) -> Iterator[Finding]:
    for number, line in enumerate(source.lines, 1):
        if found := pattern.search(line):
            yield Finding(source.path, number, f"{found[0]!r} {advice}" if show else advice)
