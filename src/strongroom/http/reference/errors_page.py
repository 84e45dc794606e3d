"""The tables of docs/errors.md, made from the catalogue of problems.

    python -m strongroom.http.reference.errors_page docs/errors.md

writes them anew between their marks; what stands outside of the marks is written by hand.
"""

import sys
from pathlib import Path
from typing import Final

from strongroom.errors import InvariantBroken
from strongroom.http.reference.problem_examples import words_of
from strongroom.problems import Known
from strongroom.problems.requests import ALLOWED, FIELDS, PARAMETERS, READING
from strongroom.problems.states import FINDING, HERE, STATE
from strongroom.problems.webhooks import WEBHOOKS

BEGIN: Final = "<!-- From here to the end mark: made by `make docs` from the catalogue. -->"
END: Final = "<!-- The end mark. -->"
GROUPS: Final = (
    ("The request cannot be read", READING),
    ("The credential", ALLOWED),
    ("What is asked for is not there", FINDING),
    ("The state forbids it", STATE),
    ("A field breaks a rule", FIELDS),
    ("A query parameter breaks a rule", PARAMETERS),
    ("Something is wrong here", HERE),
    ("A gateway's webhook is not taken", WEBHOOKS),
)


def tables() -> str:
    """One table for each group of problems, under a heading of its own, as Markdown."""
    return "\n\n".join(f"### {title}\n\n{_table(problems)}" for title, problems in GROUPS)


def page_with(text: str) -> str:
    """The page with its tables made anew. Raises InvariantBroken where the marks are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InvariantBroken("the page has not got the marks between which its tables stand")
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


def _table(problems: dict[str, Known]) -> str:
    rows = [
        "| code | status | same again? | what is wrong | what to do |",
        "|---|---|---|---|---|",
    ]
    for code, known in problems.items():
        words = words_of(known)
        again = "yes" if known.retry_safe else "no"
        detail = known.detail.format_map(words)
        what_to_do = known.what_to_do.format_map(words)
        rows.append(f"| `{code}` | {known.status} | {again} | {detail} | {what_to_do} |")
    return "\n".join(rows)


def main(arguments: list[str]) -> int:
    """Writes the page that is named; 2 when none is."""
    if len(arguments) != 1:
        sys.stderr.write("name the page: docs/errors.md\n")
        return 2
    file = Path(arguments[0])
    file.write_text(page_with(file.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
