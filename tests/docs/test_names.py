"""What a page names is there: commands, options, targets of make, files, operations, codes.

That links lead somewhere is held by tests/test_tidy.py, for all Markdown.
"""

from typing import Final, get_args

import pytest

from strongroom.payments.refunds import RefundStatus
from strongroom.payments.states import DeclineClass, Status
from strongroom.problems import CATALOGUE
from tests.docs import names
from tests.docs.pages import ROOT, Page, pages

PAGES: Final = pages()
OF_THEIR_TIME: Final = ("CHANGELOG.md", "docs/decisions/")
"""Pages that speak of what was, and are never edited."""
OF_TODAY: Final = [page for page in PAGES if not page.path.startswith(OF_THEIR_TIME)]
EACH: Final = pytest.mark.parametrize("page", OF_TODAY, ids=lambda page: page.path)

NOT_MADE: Final = {
    "up": "the tests have started a deployment of their own",
    "test": "this is it",
    "test-all": "this is a part of it",
    "bench": "it measures for minutes",
    "lint": ".ci/run does it beside the tests",
    "faults": "takes hours; a few cells are in the tests",
    "fuzz": "takes a quarter of an hour; a short walk is in the tests",
    "seeded": "takes a quarter of an hour; a few bugs are in the tests",
    "storm": "takes a quarter of an hour; a few thousand deliveries are in the tests",
    "walks": "takes a quarter of an hour; a few walks are in the tests",
    "lock": "it asks the package index",
    "localstripe": "it asks the package index",
    "browser": "it asks the index of Debian's packages",
    "foreign-verifier": "it asks the index of Go's modules",
    "toxiproxy": "it asks the index of Go's modules",
    "docs": "test_errors_page.py holds what it writes",
}
"""Targets that pages name; their recipes are read by `make -n`, and not run, for this reason."""


@EACH
def test_commands_and_options_exist(page: Page) -> None:
    wrong = [
        f"{page.path}:{line}: {text}: {why}"
        for line, text in names.command_lines(page)
        if (why := names.wrong_command(text)) is not None
    ]
    assert wrong == []


def test_targets_of_make_exist_and_each_has_a_reason_not_to_be_made() -> None:
    named = {target for page in OF_TODAY for _, target in names.asked_of_make(page)}
    assert named == NOT_MADE.keys()
    assert named <= names.targets()


@EACH
def test_files_in_backticks_exist(page: Page) -> None:
    gone = [
        f"{page.path}:{line}: {span}"
        for line, span in page.spans
        if names.is_file_named(span) and not names.exists(span, page)
    ]
    assert gone == []


@EACH
def test_paths_of_the_api_are_served(page: Page) -> None:
    gone = [
        f"{page.path}:{line}: {span}"
        for line, span in page.spans
        if names.is_operation(span) is False
    ]
    assert gone == []


@EACH
def test_names_with_underscores_are_known_to_the_product(page: Page) -> None:
    unknown = [
        f"{page.path}:{line}: {word}"
        for line, span in page.spans
        for word in names.unknown_words(span)
    ]
    assert unknown == []


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("README.md", get_args(Status)),
        ("docs/README.md", get_args(Status)),
        ("docs/captures-and-refunds.md", get_args(RefundStatus)),
        ("docs/errors.md", (*CATALOGUE, *get_args(DeclineClass))),
    ],
)
def test_a_page_leaves_none_out(path: str, wanted: tuple[str, ...]) -> None:
    [page] = [page for page in PAGES if page.path == path]
    named = {span for _, span in page.spans}
    assert [name for name in wanted if name not in named] == []


def test_the_picture_shows_each_status() -> None:
    picture = (ROOT / "docs" / "statuses.svg").read_text("utf-8")
    assert [status for status in get_args(Status) if f">{status}</text>" not in picture] == []


def test_the_index_leads_to_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    own = {page.path.removeprefix("docs/") for page in PAGES if page.path.startswith("docs/")}
    assert [path for path in own if "/" not in path and f"({path})" not in index] == ["README.md"]


def test_the_checks_find_what_is_wrong() -> None:
    page = Page("docs/x.md", "")
    right = [
        "strongroom up", ".venv/bin/strongroom migrate --finish", "strongroom explain ID | tail",
        "strongroom keys create --scope payments:write", "make up",
    ]  # fmt: skip
    assert [names.wrong_command(line) for line in right] == [None] * len(right)
    for line in ("strongroom fly", "strongroom keys burn", "strongroom migrate --fast"):
        assert names.wrong_command(line) is not None
    assert names.is_file_named("payments/decide.py")
    assert names.exists("payments/decide.py", page)
    assert names.is_file_named("payments/undecided.py")
    assert not names.exists("payments/undecided.py", page)
    assert not names.is_file_named("2xx/3xx")
    assert names.is_operation("POST /v1/payments/{id}/capture") is True
    assert names.is_operation("GET /v1/payments/{id}/capture") is False
    assert names.is_operation("/v1/poems") is False
    assert names.is_operation("/var/lib") is None
    assert names.unknown_words("queue_full, charged_after_…, status_reason") == []
    assert names.unknown_words("queue_fool, queue_full") == ["queue_fool"]
