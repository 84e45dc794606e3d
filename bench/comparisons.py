"""One rate, or one cost, over another, measured in turns: a slow minute falls on both."""

from statistics import median
from typing import Final

from bench.cluster import Deployment, Server
from bench.load import Result
from bench.measures import Lengths, Outcome, prefill, run_accept

GUARDED_WARM_UP_SECONDS: Final = 0.5


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

    The two take turns in being first. What guards a request and cannot be switched off is in both.
    """
    costs: dict[bool, list[float]] = {False: [], True: []}
    stored = {False: 0, True: 0}
    wrong: list[str] = []
    with server.deployment(telemetry=False) as bare, server.deployment() as full:
        places: dict[bool, Deployment] = {False: bare, True: full}
        for number in range(lengths.guarded_rounds):
            for telemetry in (False, True) if number % 2 else (True, False):
                result, _, problems = run_accept(
                    server,
                    places[telemetry],
                    GUARDED_WARM_UP_SECONDS,
                    lengths.guarded_seconds,
                    stored=stored[telemetry],
                )
                wrong += problems
                stored[telemetry] += result.accepted
                costs[telemetry].append(_api_us(result))
    ratios = [off / on for off, on in zip(costs[False], costs[True], strict=True)]
    return Outcome(
        {"accept_guarded_ratio": median(ratios)},
        {
            "api_us_without": [round(cost, 1) for cost in costs[False]],
            "api_us_with": [round(cost, 1) for cost in costs[True]],
        },
        wrong,
    )


def _api_us(result: Result) -> float:
    return result.cpu_us["api"]


def _rounded(cpu_us: dict[str, float]) -> dict[str, float]:
    return {name: round(used, 1) for name, used in cpu_us.items()}
