"""What a migration may say while the version before serves, checked on its text."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from strongroom.migrations import Migration, files
from tests.contract.text import without_comments

TABLE: Final = r"(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?(?P<table>[\w.]+)"
GIVEN_WHOLE: Final = ("payments", "attempts")
"""Tables whose rows the first version gives whole (`SELECT p.*`)."""
RERUN_SINCE: Final = next(one.number for one in files() if one.finishes)
"""Versions that know this migration run a transaction again when the shape of rows has changed."""

BLOCKS: Final = {
    r"\bADD\s+(CONSTRAINT\s+\w+\s+)?(CHECK|FOREIGN\s+KEY)\b(?![^;]*?\bNOT\s+VALID\b)":
        "reads the whole table under a lock that stops every request: say NOT VALID, and VALIDATE "
        "in a file of its own",
    r"\bADD\s+(CONSTRAINT\s+\w+\s+)?(UNIQUE|PRIMARY\s+KEY|EXCLUDE)\b":
        "builds an index under a lock that stops every request",
    r"\bSET\s+NOT\s+NULL\b":
        "reads the whole table under a lock: CHECK (… IS NOT NULL) NOT VALID, and VALIDATE later",
    r"\bALTER\s+(COLUMN\s+)?\w+\s+(SET\s+DATA\s+)?TYPE\b": "writes the whole table anew",
    r"\bADD\s+(COLUMN\s+)?\w+[^,;]*\bGENERATED\b": "writes the whole table anew",
    r"\bADD\s+(COLUMN\s+)?\w+[^,;]*\bDEFAULT\s+\w+\s*\(":
        "computes a default for each row, so it writes the whole table anew",
    r"\bADD\s+(COLUMN\s+)?\w+\s(?![^,;]*\bDEFAULT\b)[^,;]*\bNOT\s+NULL\b":
        "has no value for the rows that are there, nor for those that older versions insert",
    r"\b(LOCK\s+TABLE|TRUNCATE|CLUSTER|VACUUM\s+FULL|REINDEX)\b": "stops every request",
    r"\b(UPDATE\s+\w+[\w.]*\s+SET|DELETE\s+FROM)\b":
        "may touch every row in one transaction: let a worker do it, a page at a time",
}  # fmt: skip
"""Pattern and what is wrong with it, on a table that was there before."""
TAKES_AWAY: Final = {
    r"\bDROP\s+(TABLE|COLUMN|VIEW|SCHEMA|POLICY|INDEX|TYPE|ROLE)\b": "drops",
    r"\bDROP\s+(?!TABLE|COLUMN|VIEW|SCHEMA|POLICY|INDEX|TYPE|ROLE|CONSTRAINT|NOT|DEFAULT)\w+":
        "drops a column",
    r"\bRENAME\b": "renames",
    r"\bREVOKE\b": "takes a right away",
}  # fmt: skip
"""Pattern and what it does, to something that the version before may use."""


def statements_of(sql: str) -> list[str]:
    """The statements of a file, blocks of DO taken as one."""
    parts = re.split(r"(\$\$.*?\$\$)", without_comments(sql), flags=re.DOTALL)
    hidden = [part if number % 2 == 0 else "$$…$$" for number, part in enumerate(parts)]
    return [one.strip() for one in "".join(hidden).split(";") if one.strip()]


def made_by(sql: str) -> set[str]:
    """The tables that a file makes."""
    return set(re.findall(r"\bCREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?([\w.]+)", sql))


def altered(sql: str) -> list[str]:
    """The tables that were there before and that a file locks against everybody, in order."""
    found: list[str] = []
    for statement in statements_of(sql):
        if re.search(r"\bVALIDATE\s+CONSTRAINT\b", statement):
            continue  # stops nobody
        names = re.findall(rf"^ALTER\s+TABLE\s+{TABLE}", statement)
        names += re.findall(r"^CREATE\s+POLICY\s+\w+\s+ON\s+([\w.]+)", statement)
        found += [name for name in names if name not in made_by(sql) and name not in found]
    return found


def faults(migration: Migration) -> Iterator[str]:
    """What the file would do to requests of the version before, or to that version itself."""
    sql = migration.sql
    yield from _blocking(sql)
    if not migration.finishes:
        yield from _taking_away(sql)
        yield from _changing_shape(migration.number, sql)
    bare = {name.rpartition(".")[2] for name in altered(sql)}
    if len(bare) > 1:
        yield (
            f"locks {', '.join(sorted(bare))}: requests take several tables in orders of their "
            "own, so two in one transaction meet a deadlock. A file for each"
        )


def _blocking(sql: str) -> Iterator[str]:
    own = made_by(sql)
    validates = re.search(r"\bVALIDATE\s+CONSTRAINT\b", without_comments(sql))
    if validates and altered(sql):
        yield "VALIDATE under the lock of another statement: it needs a file of its own"
    for statement in statements_of(sql):
        target = re.search(
            rf"^(?:ALTER\s+TABLE|UPDATE|DELETE\s+FROM|TRUNCATE(?:\s+TABLE)?)\s+{TABLE}", statement
        )
        if target and target["table"] in own:
            continue
        for pattern, wrong in BLOCKS.items():
            if found := re.search(pattern, statement, re.IGNORECASE):
                yield f"{found[0]}: {wrong}"
        index = re.search(
            r"^CREATE\s+(?:UNIQUE\s+)?INDEX\b(.*?)\bON\s+([\w.]+)", statement, re.DOTALL
        )
        if index and index[2] not in own:
            yield (
                f"index on {index[2]}, which has rows: it stops writes until it is built. "
                "CREATE INDEX CONCURRENTLY cannot run in a transaction, and the runner knows no "
                "other way yet: teach it, with the first index that needs it"
            )


def _taking_away(sql: str) -> Iterator[str]:
    for statement in statements_of(sql):
        for pattern, does in TAKES_AWAY.items():
            if found := re.search(pattern, statement, re.IGNORECASE):
                yield (
                    f"{found[0]}: {does} what the version before may use; only a file that "
                    "finishes may, when nobody is left"
                )
        moved = re.search(rf"^ALTER\s+TABLE\s+{TABLE}\s+SET\s+SCHEMA", statement)
        if moved and not _keeps_name(moved["table"], sql):
            yield f"{moved['table']} is moved, and no view keeps its name for the version before"


def _changing_shape(number: int, sql: str) -> Iterator[str]:
    """Sessions keep statements prepared; one that gives whole rows fails when these change."""
    for statement in statements_of(sql):
        target = re.search(rf"^ALTER\s+TABLE\s+{TABLE}.*\bADD\s+COLUMN\b", statement, re.DOTALL)
        if target is None:
            continue
        whole = target["table"].rpartition(".")[2] in GIVEN_WHOLE
        if whole and number <= RERUN_SINCE and not _keeps_name(target["table"], sql):
            yield (
                f"{target['table']} gets a column, and the version before gives its rows whole: "
                "keep their old shape under the old name, as 0002 does"
            )


def _keeps_name(table: str, sql: str) -> bool:
    view = rf"\bCREATE\s+VIEW\s+{re.escape(table)}\s+WITH\s+\(security_invoker"
    return re.search(view, without_comments(sql)) is not None


def out_of_order(files: Sequence[Migration]) -> list[str]:
    """Files whose number is that of a file before them."""
    return [one.name for before, one in pairwise(files) if one.number <= before.number]
