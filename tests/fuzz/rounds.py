"""Rounds of walks in processes of their own, until enough was asked."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import Final

from msgspec import Struct, field

from strongroom.clock import monotonic_seconds
from strongroom.local.process import die_with_parent
from tests.fuzz.plans import Catalogue
from tests.fuzz.tally import Tally
from tests.fuzz.walks import Round, Target, run_round

WALKS_A_ROUND: Final = 20

_catalogue: Catalogue | None = None
"""In a worker: the document, read once."""


class Run(Struct):
    """All rounds together."""

    tally: Tally = field(default_factory=Tally)
    failures: list[Round] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    seconds: float = 0.0


def run(
    target: Target,
    *,
    cases: int,
    first_seed: int,
    workers: int,
    seconds_max: float = float("inf"),
    failures_max: int = 1,
    walks: int = WALKS_A_ROUND,
    tell: Callable[[Run], None] = lambda _: None,
) -> Run:
    """Walks until so many requests were sent, the time is up, or so much went wrong.

    Each round is of so many walks and has the next seed; `tell` hears after each.
    """
    found, started = Run(), monotonic_seconds()
    seeds = _counting(first_seed)
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(os.getpid(),)
    ) as pool:
        rounds = {_round(pool, target, next(seeds), walks) for _ in range(workers)}
        while rounds:
            done, rounds = wait(rounds, return_when=FIRST_COMPLETED)
            for one in (future.result() for future in done):
                found.seeds.append(one.seed)
                found.tally.add(one.tally)
                if one.failure is not None:
                    found.failures.append(one)
                found.seconds = monotonic_seconds() - started
                tell(found)
            if (
                found.tally.cases < cases
                and found.seconds < seconds_max
                and len(found.failures) < failures_max
            ):
                rounds |= {_round(pool, target, next(seeds), walks) for _ in done}
    return found


def _counting(first: int) -> Iterator[int]:
    while True:
        yield first
        first += 1


def _round(pool: ProcessPoolExecutor, target: Target, seed: int, walks: int) -> "Future[Round]":
    return pool.submit(_work, target, seed, walks)


def _begin(parent_pid: int) -> None:
    global _catalogue  # noqa: PLW0603 - one a worker
    die_with_parent(parent_pid)
    _catalogue = Catalogue()


def _work(target: Target, seed: int, walks: int) -> Round:
    assert _catalogue is not None
    return run_round(_catalogue, target, seed, walks)
