"""One rate, or one cost, over another, measured in turns: a slow minute falls on both."""

from collections.abc import Sequence
from statistics import median
from typing import Final

from bench.children import API
from bench.cluster import Deployment, Server
from bench.load import Result
from bench.measures import Lengths, Outcome, prefill, run_accept

GUARDED_WARM_UP_SECONDS: Final = 0.5
BARE: Final = ("bench.bare_api",)
Side = tuple[Deployment, Sequence[str]]
"""Where one of two runs, and what serves there."""


def grown(server: Server, lengths: Lengths) -> Outcome:
    """The API over many stored payments and over none; the median of the ratios of rates."""
    ratios: list[float] = []
    rates: dict[str, list[float]] = {"empty": [], "grown": []}
    cpu_us: dict[str, dict[str, float]] = {}
    reads: dict[str, float] = {}
    wrong: list[str] = []
    times = (lengths.warm_up_seconds, lengths.grown_seconds)
    with server.deployment() as full:
        prefill(server, full, lengths.grown_payments)
        stored = lengths.grown_payments
        for _ in range(lengths.grown_rounds):
            with server.deployment() as deployment:
                empty, _, problems = run_accept(server, deployment, *times)
            wrong += problems
            result, reads, problems = run_accept(server, full, *times, stored=stored)
            wrong += problems
            stored += result.accepted
            ratios.append(result.rps / empty.rps)
            for name, one in (("empty", empty), ("grown", result)):
                rates[name].append(round(one.rps, 1))
                cpu_us[name] = _rounded(one.cpu_us)
    return Outcome(
        {"accept_at_1m_ratio": median(ratios)},
        {
            "stored": lengths.grown_payments,
            "rates": rates,
            "cpu_us_empty": cpu_us["empty"],
            "cpu_us_grown": cpu_us["grown"],
            "rows_read": reads,
        },
        wrong,
    )


def guarded(server: Server, lengths: Lengths) -> Outcome:
    """The API's CPU time per accept without telemetry over that with it; the median of the ratios.

    What guards a request and cannot be switched off is in both.
    """
    with server.deployment(telemetry=False) as bare, server.deployment() as full:
        costs, wrong = _in_turns(server, lengths, (bare, API), (full, API))
    ratios = [without / with_it for without, with_it in costs]
    return Outcome({"accept_guarded_ratio": median(ratios)}, _told(costs), wrong)


def vaulted(server: Server, lengths: Lengths) -> Outcome:
    """The API's CPU time per accept with vault and card detector, over that without them.

    Every payment brings a description and metadata.
    """
    with server.deployment() as bare, server.deployment() as full:
        costs, wrong = _in_turns(server, lengths, (bare, BARE), (full, API))
    ratios = [with_it / without for without, with_it in costs]
    return Outcome({"accept_vault_cpu_ratio": median(ratios)}, _told(costs), wrong)


def _in_turns(
    server: Server, lengths: Lengths, without: Side, with_it: Side
) -> tuple[list[tuple[float, float]], list[str]]:
    """Microseconds of the API an accept, by pairs of runs; the two take turns in being first."""
    sides, stored, wrong = (without, with_it), [0, 0], list[str]()
    costs: list[tuple[float, float]] = []
    for number in range(lengths.guarded_rounds):
        pair = [0.0, 0.0]
        for side in (0, 1) if number % 2 else (1, 0):
            deployment, module = sides[side]
            result, _, problems = run_accept(
                server,
                deployment,
                GUARDED_WARM_UP_SECONDS,
                lengths.guarded_seconds,
                module,
                stored=stored[side],
            )
            wrong += problems
            stored[side] += result.accepted
            pair[side] = _api_us(result)
        costs.append((pair[0], pair[1]))
    return costs, wrong


def _told(costs: list[tuple[float, float]]) -> dict[str, object]:
    return {
        "api_us_without": [round(without, 1) for without, _ in costs],
        "api_us_with": [round(with_it, 1) for _, with_it in costs],
    }


def _api_us(result: Result) -> float:
    return result.cpu_us["api"]


def _rounded(cpu_us: dict[str, float]) -> dict[str, float]:
    return {name: round(used, 1) for name, used in cpu_us.items()}
