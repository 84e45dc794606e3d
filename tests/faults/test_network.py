"""Each fault of a network between each two processes: nothing is charged twice, nothing is lost."""

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.faults.cable import FAULTS, Cable
from tests.faults.cells import Cell, Grid, Trial, cells_of
from tests.faults.deployment import Deployment
from tests.faults.net import PAIRS, MakeCable, Net
from tests.faults.toxiproxy import TOXICS, ToxicCable, toxiproxy

pytestmark = [pytest.mark.faults, pytest.mark.needs("procfs")]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
DEADLINE_SECONDS = 2.0
BRAINTREE = "worker → Braintree"
FEW: list[Cell] = [
    ("worker → PostgreSQL", "answers_lost"),
    ("worker → Stripe", "reset"),
    ("client → API", "reset"),
]
"""What every run tries."""
OF_OTHERS = ("client → API", "worker → PostgreSQL", "worker → Stripe")
"""Pairs that are tried with the faults of toxiproxy too."""


@pytest.fixture(scope="module")
def grid(request: pytest.FixtureRequest) -> Iterator[Grid]:
    """What was tried, shown at the end also of a run in which all went well."""
    made = Grid()
    yield made
    capturing = request.config.pluginmanager.getplugin("capturemanager")
    with capturing.global_and_fixture_disabled():
        print(f"\npayments, and seconds from the end of the fault to their end\n{made}")


async def tried(
    grid: Grid, cells: list[Cell], make_cable: MakeCable = Cable, *, waits: bool = True
) -> None:
    """All of these, one after another, in one deployment.

    At the end it `waits` until connections that were kept for a while are closed.
    """
    deployment = Deployment(deadline_seconds=DEADLINE_SECONDS)
    try:
        pairs = list(dict.fromkeys(pair for pair, _ in cells))
        async with Net(deployment, pairs, make_cable) as net:
            trial = Trial(net, grid, "braintree" if BRAINTREE in pairs else "stripe")
            for pair, fault in cells:
                await trial.cell(pair, fault)
            if waits:
                await trial.end()
    finally:
        print(f"\nlogged: {dict(deployment.complaints())}")
        await asyncio.to_thread(deployment.remove)


def test_the_page_has_each_fault_and_each_pair() -> None:
    rows = [line.split(" | ")[0].strip("| ") for line in PAGE.read_text().splitlines()]
    told = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    for fault, text in FAULTS.items():
        assert f"| `{fault}` | {text} |" in told
    for pair in PAIRS:
        assert pair in rows


async def test_some_faults_of_the_network(grid: Grid) -> None:
    await tried(grid, FEW, waits=False)
    assert not grid.missing(FEW)


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.replace(" → ", "-").lower())
async def test_every_fault_between_two_processes(grid: Grid, pair: str) -> None:
    await tried(grid, cells_of([pair]))
    assert not grid.missing(cells_of([pair]))


@pytest.mark.slow
@pytest.mark.needs("toxiproxy")
async def test_faults_that_toxiproxy_makes() -> None:
    theirs, cells = Grid(), cells_of(OF_OTHERS, TOXICS)
    async with toxiproxy() as control:
        await tried(theirs, cells, partial(ToxicCable, control))
    assert not theirs.missing(cells)
    print(f"\nby toxiproxy\n{theirs}")


@pytest.mark.slow
def test_no_cell_of_the_grid_was_left_out(grid: Grid, request: pytest.FixtureRequest) -> None:
    chosen = {
        item.callspec.params["pair"]
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and item.originalname == "test_every_fault_between_two_processes"
    }
    assert not grid.missing(cells_of(pair for pair in PAIRS if pair in chosen))
    print(f"{len(grid.tried)} cells of {len(PAIRS)} pairs and {len(FAULTS)} faults")
