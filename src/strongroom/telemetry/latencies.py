"""Counts of answers, cheap enough for the accept path: the library's cost more than an answer may.

A histogram of the library takes a lock and walks through its buckets for each value; here a value
is a bisection and two additions. They become the library's metrics when they are read.
"""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds."""
ROUTES_MAX: Final = 100
OTHER: Final = "other"


class _Route:
    """Answers of one route: how many of which status, and how many took how long."""

    __slots__ = ("counts", "statuses", "total_seconds")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total_seconds = 0.0


class Answers:
    """A collector of the library's: answers by route and status, and how long they took."""

    def __init__(self) -> None:
        self._routes: dict[str, _Route] = {}

    def count(self, name: str, status: int, seconds: float, waited: bool) -> None:
        """One answer more; a caller who asked us to wait says nothing about our speed."""
        route = self._routes.get(name) or self._new(name)
        statuses = route.statuses
        statuses[status] = statuses.get(status, 0) + 1
        if not waited:
            route.counts[bisect_left(BOUNDS, seconds)] += 1
            route.total_seconds += seconds

    def _new(self, name: str) -> _Route:
        known = name if len(self._routes) < ROUTES_MAX else OTHER
        return self._routes.setdefault(known, _Route())

    def collect(self) -> Iterator[Metric]:
        """What was counted, as the library's metrics."""
        answers = CounterMetricFamily(
            "strongroom_http_requests", "Requests answered.", labels=["route", "status"]
        )
        seconds = HistogramMetricFamily(
            "strongroom_http_request_seconds",
            "From the head of a request to its answer, without those that asked to wait.",
            labels=["route"],
        )
        for name, route in self._routes.items():
            for status, count in route.statuses.items():
                answers.add_metric([name, str(status)], count)
            buckets, so_far = [], 0
            for bound, count in zip((*BOUNDS, float("inf")), route.counts, strict=True):
                so_far += count
                buckets.append((_bound_text(bound), float(so_far)))
            seconds.add_metric([name], buckets, route.total_seconds)
        yield answers
        yield seconds


def _bound_text(bound: float) -> str:
    return "+Inf" if bound == float("inf") else repr(bound)
