"""The catalogue of problems and the places that raise them agree, read from the source."""

import ast
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.errors import InvariantBroken, Problem
from strongroom.problems import CATALOGUE, TITLES, Known

SOURCE = Path(__file__).parents[2] / "src" / "strongroom"
FAMILIES = {
    "Problem": {500},
    "Invalid": {400, 405, 415, 422},
    "Unauthenticated": {401},
    "Forbidden": {403},
    "Missing": {404},
    "Conflict": {409},
    "TooLarge": {413},
    "Unavailable": {408, 503},
}
NOT_POSSIBLE = "NotPossible"
"""What decide() raises: its code becomes that of a Conflict."""
PASSED_ON = {"why.code"}


class Raised:
    """A call that makes a problem: which class, which code, which words, where."""

    def __init__(self, file: Path, call: ast.Call, family: str) -> None:
        self.where = f"{file.relative_to(SOURCE)}:{call.lineno}"
        self.family = family
        first = call.args[0] if call.args else None
        value = first.value if isinstance(first, ast.Constant) else None
        self.code = value if isinstance(value, str) else None
        self.spelt = "" if first is None else ast.unparse(first)
        self.words = {word.arg for word in call.keywords}


def raised() -> Iterator[Raised]:
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                family = node.func.id
                if family in FAMILIES or family == NOT_POSSIBLE:
                    yield Raised(file, node, family)


def placeholders(known: Known) -> set[str]:
    texts = known.detail + known.what_to_do
    return {name for _, name, _, _ in string.Formatter().parse(texts) if name}


RAISED = list(raised())


def test_every_code_that_is_raised_is_in_the_catalogue() -> None:
    for place in RAISED:
        if place.code is None:
            assert place.spelt in PASSED_ON, f"{place.where}: write the code out"
        else:
            assert place.code in CATALOGUE, f"{place.where}: {place.code} is not in the catalogue"


def test_every_code_of_the_catalogue_is_raised_somewhere() -> None:
    assert CATALOGUE.keys() - {place.code for place in RAISED} == set()


def test_the_class_that_is_raised_fits_the_status() -> None:
    for place in RAISED:
        if place.code is not None:
            status = CATALOGUE[place.code].status
            family = "Conflict" if place.family == NOT_POSSIBLE else place.family
            assert status in FAMILIES[family], f"{place.where}: {family} is not for {status}"


def test_every_place_gives_the_words_that_the_texts_want() -> None:
    for place in RAISED:
        if place.code is not None:
            wanted = placeholders(CATALOGUE[place.code])
            given = place.words - {"payment_id"}
            assert wanted <= given, f"{place.where}: {wanted - given} missing"
            assert given - wanted <= {"field"}, f"{place.where}: {given - wanted} not used"


@pytest.mark.parametrize("code", CATALOGUE)
def test_an_entry_is_complete(code: str) -> None:
    known = CATALOGUE[code]
    assert code.isascii()
    assert code.replace("_", "").islower()
    assert known.title == TITLES[known.status]
    assert placeholders(known) - {"field"} == set(known.words), "an example of each word"
    for text in (known.detail, known.what_to_do):
        said = text.format(field=known.field, **known.words)
        assert said.endswith(".")
        assert "None" not in said
    assert (known.retry_after_seconds is not None) is (known.status == 503)


def test_a_code_without_an_entry_cannot_be_raised() -> None:
    with pytest.raises(InvariantBroken, match="not in the catalogue"):
        Problem("no_such_code")


def test_a_problem_without_its_words_cannot_be_raised() -> None:
    with pytest.raises(InvariantBroken, match="scope"):
        Problem("scope_missing")
