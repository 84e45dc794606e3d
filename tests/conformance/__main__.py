"""The matrix of docs/gateways.md, made from what the suite runs.

    python -m tests.conformance docs/gateways.md

writes it anew between its marks.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from strongroom.payments.states import DeclineClass
from tests.conformance.aftermath import CANNOT_BE, CASES, Task
from tests.conformance.matrix import CLASSES, GENERAL, MOVING, Condition, Operation
from tests.conformance.taxes import NO_SERVICE, REASONS, TaxOperation
from tests.conformance.test_aftermath import CANNOT as AFTERMATH_CANNOT
from tests.conformance.test_conformance import CANNOT, NO_DECLINES
from tests.conformance.wallets import CANNOT as WALLETS_CANNOT
from tests.conformance.wallets import WalletOperation
from tests.conformance.wallets import reason as wallet_reason

BEGIN: Final = "<!-- From here to the end mark: made by `make docs` from the suite. -->"
END: Final = "<!-- The end mark. -->"
HELD: Final = "✓"


def tables() -> str:
    """For each gateway its three tables and the reasons of what cannot exist, as Markdown."""
    gateways = [_gateway(name, cannot, NO_DECLINES[name]) for name, cannot in CANNOT.items()]
    wallets = [_wallet(name) for name in WALLETS_CANNOT]
    return "\n\n".join((*gateways, *wallets, _taxes()))


def page_with(text: str) -> str:
    """The page with its tables made anew. Raises ValueError where the marks are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has not got the marks between which its tables stand")
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


def _gateway(
    name: str,
    cannot: Mapping[tuple[Operation, Condition], str],
    no_declines: Mapping[DeclineClass, str],
) -> str:
    reasons: list[str] = []

    def cell(reason: str | None) -> str:
        return _cell(reason, reasons)

    known = {**GENERAL, **cannot}
    rows = [
        [condition, *(cell(known.get((operation, condition))) for operation in Operation)]
        for condition in Condition
    ]
    declines = [
        [f"`{one}`", *(cell(no_declines.get(one)) for _ in sorted(MOVING))] for one in CLASSES
    ]
    after = {**CANNOT_BE, **AFTERMATH_CANNOT[name]}
    later = [[case, *(cell(after.get((task, case))) for task in Task)] for case in CASES]
    return "\n\n".join(
        (
            f"### {name.capitalize()}",
            _table(["what happens", *Operation], rows),
            _table(["declined as", *sorted(MOVING)], declines),
            _table(["what happens later", *Task], later),
            _listed(reasons),
        )
    )


def _wallet(name: str) -> str:
    """What saves instruments at one gateway."""
    reasons: list[str] = []
    rows = [
        [condition]
        + [
            _cell(wallet_reason(name, (operation, condition)), reasons)
            for operation in WalletOperation
        ]
        for condition in Condition
    ]
    return "\n\n".join(
        (
            f"### Saved cards at {name.capitalize()}",
            _table(["what happens", *WalletOperation], rows),
            _listed(reasons),
        )
    )


def _taxes() -> str:
    """The tax services: one table for those that there are, and why there are no others."""
    reasons: list[str] = []
    rows = [
        [condition] + [_cell(REASONS.get(condition), reasons) for _ in TaxOperation]
        for condition in Condition
    ]
    none = "\n".join(
        f"- {name.capitalize()}: not applicable. {why}." for name, why in NO_SERVICE.items()
    )
    return "\n\n".join(
        (
            "### Taxes at Stripe",
            _table(["what happens", *TaxOperation], rows),
            _listed(reasons),
            f"Gateways without a tax service:\n\n{none}",
        )
    )


def _cell(reason: str | None, reasons: list[str]) -> str:
    """That it is run, or the number of why it cannot exist; `reasons` grows by a new one."""
    if reason is None:
        return HELD
    if reason not in reasons:
        reasons.append(reason)
    return f"({reasons.index(reason) + 1})"


def _listed(reasons: list[str]) -> str:
    listed = "\n".join(f"{number}. {reason}" for number, reason in enumerate(reasons, 1))
    return f"Cells that cannot exist:\n\n{listed}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(arguments: list[str]) -> int:
    """Writes the page that is named; 2 when none is."""
    if len(arguments) != 1:
        sys.stderr.write("name the page: docs/gateways.md\n")
        return 2
    file = Path(arguments[0])
    file.write_text(page_with(file.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
