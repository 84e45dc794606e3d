"""A plugin of pytest that writes down how each test ended, and that the right tree is tested.

A line of JSON for each test that ran, and for each that did not come to run.
"""

import importlib.util
import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest

TREE: Final = "SEEDED_TREE"
HEARD: Final = "SEEDED_HEARD"
NOT_A_FINDING: Final = (ImportError, SyntaxError, NameError)
"""What says that the code does not hang together, and nothing of what a test is about."""


def pytest_configure() -> None:
    """Raises UsageError where the product would come from elsewhere."""
    tree = os.environ[TREE]
    for package in ("strongroom", "strongroom_sandbox"):
        found = importlib.util.find_spec(package)
        if found is None or not Path(str(found.origin)).is_relative_to(tree):
            raise pytest.UsageError(f"{package} is {found and found.origin}, and not of {tree}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """As it is, with a line about it."""
    report = yield
    if report.when == "call" or not report.passed:
        error = None if call.excinfo is None else call.excinfo.value
        told = {
            "test": item.nodeid,
            "when": report.when,
            "outcome": report.outcome,
            "seconds": round(report.duration, 2),
            "error": type(error).__name__ if error is not None else None,
            "is_finding": not isinstance(error, NOT_A_FINDING),
        }
        with Path(os.environ[HEARD]).open("a") as stream:
            stream.write(json.dumps(told) + "\n")
    return report
