"""docs/gateways.md says what the suite runs, and no cell of it is empty."""

from pathlib import Path

from tests.conformance.__main__ import HELD, main, page_with, tables
from tests.conformance.matrix import CLASSES, GENERAL, Condition, Operation
from tests.conformance.test_conformance import CANNOT, NO_DECLINES, runs
from tests.conformance.wallets import CANNOT as WALLETS_CANNOT
from tests.conformance.wallets import NAMES, WALLET_CELLS, WalletOperation, reason
from tests.docs.pages import ROOT

FILE = ROOT / "docs" / "gateways.md"


def test_the_page_is_current() -> None:
    text = FILE.read_text("utf-8")
    assert page_with(text) == text, "run `make docs`"


def test_each_cell_is_run_or_says_why_not() -> None:
    for gateway, cannot in CANNOT.items():
        run = {(cell.operation, cell.condition) for name, cell in runs() if name == gateway}
        known = GENERAL.keys() | cannot.keys()
        assert run.isdisjoint(known)
        assert run | known == {(o, c) for o in Operation for c in Condition}
        assert all(
            len(reason) > 20 for reason in [*cannot.values(), *NO_DECLINES[gateway].values()]
        )


def test_each_cell_of_a_wallet_is_run_or_says_why_not() -> None:
    for gateway in CANNOT:
        run = {(o, c) for name, o, c in WALLET_CELLS if name == gateway}
        every = {(o, c) for o in WalletOperation for c in Condition}
        reasons = [reason(gateway, cell) for cell in every - run]
        assert all(why is not None and len(why) > 15 for why in reasons)
        assert {operation for operation, _ in run} == NAMES[gateway].keys()
    assert WALLETS_CANNOT.keys() == CANNOT.keys()


def test_the_tables_have_no_hole() -> None:
    cells = [
        cell.strip()
        for line in tables().splitlines()
        if line.startswith("|")
        for cell in line.strip("|").split("|")[1:]
    ]
    assert len(cells) > len(CANNOT) * (len(Operation) * len(Condition) + 2 * len(CLASSES))
    assert "" not in cells
    assert cells.count(HELD) > len(runs()) + len(WALLET_CELLS)


def test_the_page_is_written_anew_in_place(tmp_path: Path) -> None:
    page, text = tmp_path / "gateways.md", FILE.read_text("utf-8")
    page.write_text(text.replace(HELD, "?"), "utf-8")
    assert main([str(page)]) == 0
    assert HELD in page.read_text("utf-8")
    assert main([]) == 2
