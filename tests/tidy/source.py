"""Files of the repository as the checks see them, and where a finding lies."""

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Source:
    """One file: its path from the root of the repository, with slashes, and its text."""

    path: str
    text: str

    @cached_property
    def lines(self) -> list[str]:
        """The lines without their ends."""
        return self.text.splitlines()

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree of a Python file."""
        return ast.parse(self.text, self.path)

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """The folders and the file name."""
        return PurePosixPath(self.path).parts

    @property
    def suffix(self) -> str:
        """The suffix with its dot."""
        return PurePosixPath(self.path).suffix

    @cached_property
    def module(self) -> str:
        """The dotted name that Python imports this file by."""
        parts = list(PurePosixPath(self.path).with_suffix("").parts)
        if parts[0] == "src":
            parts = parts[1:]
        if parts[-1] == "__init__":
            parts = parts[:-1]
        return ".".join(parts)

    def below(self, *folders: str) -> bool:
        """Whether the file is one of these files or lies below one of these folders."""
        return any(self.path == folder or self.path.startswith(f"{folder}/") for folder in folders)


@dataclass(frozen=True)
class Finding:
    """A rule that is broken at a line, and what to do about it."""

    path: str
    line: int
    advice: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.advice}"


@cache
def repository() -> tuple[Source, ...]:
    """All text files that are committed, or would be by `git add`; others are not ours."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return tuple(_readable(sorted(set(listed.stdout.split("\0")) - {""})))


def python_files(sources: tuple[Source, ...], *folders: str) -> list[Source]:
    """The Python files below these folders; a folder that is not there yet has none."""
    return [s for s in sources if s.suffix == ".py" and s.below(*folders)]


def _readable(paths: list[str]) -> Iterator[Source]:
    for path in paths:
        file = ROOT / path
        if file.is_file() and not file.is_symlink():
            try:
                yield Source(path, file.read_text("utf-8"))
            except UnicodeDecodeError:
                continue  # a picture has no text to check
