"""The short run: what is left out of it is counted, named by folder, and run by `make test-all`.

`pytest` alone runs everything; `pytest --short`, which is `make test`, leaves out

- a test marked `slow`: it takes long, and a quicker one in the same run holds the same promise;
- of a test marked `sampled(N)`, all but each Nth of its parameter sets.

A count that costs time, of examples or of kills, is asked for by `share(whole, short)`. So nothing
is smaller in the short run but by one of the three, and its summary says so.
"""

from collections import Counter
from typing import Any

import pytest

OPTION = "--short"
WHOLE_RUN = "make test-all"
LEFT_OUT = pytest.StashKey[Counter[str]]()
_is_short = False


def share(whole: int, short: int) -> int:
    """How often something is tried: `short` times in the short run, else `whole` times."""
    return short if _is_short else whole


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, action="store_true", help=f"leave out what {WHOLE_RUN} alone runs")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Before any test module is read, whose settings may ask for a share."""
    global _is_short  # noqa: PLW0603  # a module of tests has no config to ask
    _is_short = bool(config.getoption(OPTION))
    config.stash[LEFT_OUT] = Counter()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out; what `-k` or `-m` did not choose is none of it."""
    if not config.getoption(OPTION):
        return
    seen: Counter[str] = Counter()
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        (kept if _belongs(item, seen) else left).append(item)
    items[:] = kept
    config.stash[LEFT_OUT].update(folder_of(item.nodeid) for item in left)
    config.hook.pytest_deselected(items=left)


def _belongs(item: pytest.Item, seen: Counter[str]) -> bool:
    """Whether the short run has it. `seen` counts the parameter sets of each test so far."""
    if item.get_closest_marker("slow") is not None:
        return False
    sampled = item.get_closest_marker("sampled")
    if sampled is None:
        return True
    (each,) = sampled.args
    test = item.nodeid.partition("[")[0]
    seen[test] += 1
    return (seen[test] - 1) % int(each) == 0


def folder_of(nodeid: str) -> str:
    """Of `tests/unit/test_cards.py::test_it`, `tests/unit`; of what lies in `tests`, its file."""
    path = nodeid.partition("::")[0].split("/")
    return "/".join(path[:2])


def summary_lines(counts: Counter[str], run: int) -> list[str]:
    """How many of how many, how to run them, and where they are, the most first."""
    left = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [
        f"left out of the short run: {left} of {left + run} tests; `{WHOLE_RUN}` runs them all",
        *(f"  {folder}: {count}" for folder, count in ordered),
    ]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process of many tells the one that sums up."""
    told: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if told is not None:
        told["left_out"] = dict(session.config.stash[LEFT_OUT])
        told["chosen"] = session.testscollected


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Each process has read all tests, and left out the same."""
    told: dict[str, Any] = getattr(node, "workeroutput", {})
    if "left_out" in told:
        node.config.stash[LEFT_OUT] = Counter(told["left_out"])
        node.config.stash[CHOSEN] = told["chosen"]


CHOSEN = pytest.StashKey[int]()
"""How many tests were chosen, where other processes ran them."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what this run did not look at, also where it was nothing."""
    config = terminalreporter.config
    if config.getoption(OPTION):
        chosen = config.stash.get(CHOSEN, terminalreporter._session.testscollected)
        terminalreporter.section("this was the short run", sep="-", yellow=True)
        for line in summary_lines(config.stash[LEFT_OUT], chosen):
            terminalreporter.write_line(line)
