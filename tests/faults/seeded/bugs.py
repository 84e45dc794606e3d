"""The bugs, as data: in bugs/*.toml, each with the text that it changes and the test that sees it.

A bug names the exact text that it replaces, which stands once in its file. Where the product has
moved on and the text has not, the bug does not fit, and is an error by its name.
"""

import ast
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

ROOT: Final = Path(__file__).parents[3]
FOLDER: Final = Path(__file__).with_name("bugs")
PROMISES: Final = {
    1: "charged at most once",
    2: "what was answered is on disk, and carried to an end",
    3: "what is not known is called unknown",
    4: "nothing secret is stored in the clear, logged or sent on",
    5: "a log that cannot be changed unnoticed",
    6: "nobody acts beyond what they are allowed",
    7: "personal data can be erased",
}
"""What the product promises, by number."""
_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")


class Misfit(Exception):
    """A bug that cannot be put into the product as it is; the message names it."""


class Edit(Struct, frozen=True, forbid_unknown_fields=True):
    """In `file`, below src/, `old` becomes `new`."""

    file: str
    old: str
    new: str


class Bug(Struct, frozen=True, forbid_unknown_fields=True):
    """One bug. `check` is the node id of the test that has to fail, all its parameter sets."""

    name: str
    what: str
    breaks: int
    check: str
    edit: tuple[Edit, ...]

    def put_into(self, tree: Path) -> None:
        """Changes the files of a copy of the repository. Raises Misfit."""
        for file, text in self.changed(tree).items():
            path = tree / "src" / file
            path.write_text(text, "utf-8")
            # A module that was compiled in the same second, at the same length, passes for it.
            for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
                compiled.unlink()

    def changed(self, tree: Path = ROOT) -> dict[str, str]:
        """The new texts of the files that it changes. Raises Misfit."""
        texts: dict[str, str] = {}
        for edit in self.edit:
            file = tree / "src" / edit.file
            if not file.is_file():
                raise Misfit(f"{self.name}: there is no src/{edit.file}")
            text = texts.get(edit.file) or file.read_text("utf-8")
            if (times := text.count(edit.old)) != 1:
                raise Misfit(
                    f"{self.name}: src/{edit.file} has its text {times} times and not once: "
                    f"{edit.old.strip().partition(chr(10))[0]}"
                )
            texts[edit.file] = text.replace(edit.old, edit.new)
        for name, text in texts.items():
            if name.endswith(".py"):
                try:
                    ast.parse(text)
                except SyntaxError as error:
                    raise Misfit(f"{self.name}: src/{name} is no Python then: {error}") from None
        return texts

    def find_check(self) -> None:
        """Raises Misfit where its test is not there."""
        path, _, name = self.check.partition("::")
        file = ROOT / path
        tests = ast.walk(ast.parse(file.read_text("utf-8"))) if file.is_file() else ()
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        wanted = name.partition("[")[0].rpartition("::")[2]
        if not any(isinstance(one, functions) and one.name == wanted for one in tests):
            raise Misfit(f"{self.name}: there is no test {self.check}")


def all_bugs(folder: Path = FOLDER) -> list[Bug]:
    """Every bug, in the order of the files. Raises Misfit for what is none."""
    bugs = list(_read(sorted(folder.glob("*.toml"))))
    names = [bug.name for bug in bugs]
    for bug in bugs:
        if names.count(bug.name) > 1 or not _NAME.fullmatch(bug.name):
            raise Misfit(f"{bug.name}: a bug has a name of its own, of words with hyphens")
        if bug.breaks not in PROMISES or not bug.edit:
            raise Misfit(f"{bug.name}: a bug breaks one of the promises, by at least one edit")
    return bugs


def _read(files: Sequence[Path]) -> Iterator[Bug]:
    for file in files:
        try:
            yield from msgspec.convert(
                tomllib.loads(file.read_text("utf-8")), type=dict[str, list[Bug]]
            )["bug"]
        except (tomllib.TOMLDecodeError, msgspec.ValidationError, KeyError) as error:
            raise Misfit(f"{file.name}: {error}") from None
