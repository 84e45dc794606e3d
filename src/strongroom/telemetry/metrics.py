"""The metrics of a process, in the text format of Prometheus.

Labels are few and bounded: gateways, operations, routes, codes, classes. Never an id of a payment
or of a legal entity: each value of a label is a series of its own, kept for as long as the process.
"""

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from strongroom.telemetry.latencies import OTHER, Answers
from strongroom.telemetry.logs import TALLY

LANES: Final = ("payments", "refunds")
ITEMS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
BATCH_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
CALL_SECONDS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0)
WINDOW_SECONDS: Final = (0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0)
CODES_MAX: Final = 200
AT_ZERO: Final = (
    ("set_aside", "error"),
    ("late_answer_not_heard", "warning"),
    ("webhook_mismatched", "warning"),
    ("webhook_id_reused", "warning"),
    ("ghost_charges", "warning"),
    ("log_not_sequenced", "error"),
)
"""Lines that an alert waits for are counted from 0: what appears at 1 shows no increase."""
DATABASE_LOST: Final = frozenset(
    {
        ("batch_rerun", "warning"),
        ("claim_failed", "warning"),
        ("database_out_of_reach", "warning"),
        ("keys_not_checked", "warning"),
        ("log_lag_not_read", "warning"),
        ("log_not_sequenced", "warning"),
        ("log_not_signed", "warning"),
        ("open_work_not_read", "warning"),
        ("retention_failed", "warning"),
        ("waiting_for_database", "warning"),
        ("waiting_look_failed", "warning"),
        ("webhooks_not_told", "warning"),
        ("webhooks_not_forgotten", "warning"),
        ("hints_not_read", "warning"),
        ("sweep_failed", "warning"),
        ("fetch_failed", "warning"),
        ("webhooks_not_followed", "warning"),
    }
)
"""Log lines that say that the database did not answer. `claim_failed` as an error is a bug."""


class Metrics:
    """Everything that one process counts; `text` is what a scrape gets."""

    def __init__(self) -> None:
        disable_created_metrics()
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.answers = Answers()
        self.watched = Watched()
        for collector in (self.answers, self.watched, _Lines()):
            registry.register(collector)
        self.refusals = Counter(
            "strongroom_refusals", "Problem documents sent, by code.", ["code"], registry=registry
        )
        self._codes: set[str] = set()
        self.batch_items = Histogram(
            "strongroom_batch_items",
            "Items in a batch that was committed.",
            ["batch"],
            buckets=ITEMS,
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "strongroom_batch_seconds",
            "Time of a batch's transaction, its commit included.",
            ["batch"],
            buckets=BATCH_SECONDS,
            registry=registry,
        )
        self.accepted = Counter(
            "strongroom_payments_accepted", "Payments stored.", registry=registry
        )
        self.claimed = Counter(
            "strongroom_claimed", "Items that the worker took to work on.", ["lane"],
            registry=registry,
        )  # fmt: skip
        self.last_claim = Gauge(
            "strongroom_last_claim_timestamp_seconds",
            "When the worker last asked for what is due and got an answer.",
            ["lane"],
            registry=registry,
        )
        self.webhooks = Counter(
            "strongroom_webhooks_received",
            "Genuine webhooks: what they are about, and whether they came for the first time.",
            ["gateway", "lane", "stored"],
            registry=registry,
        )
        self._make_gateway_metrics(registry)
        self._make_line_metrics(registry)

    def _make_gateway_metrics(self, registry: CollectorRegistry) -> None:
        self.authorizations = Counter(
            "strongroom_authorizations",
            "Attempts that a gateway decided: approved, or declined with a class.",
            ["gateway", "result", "decline"],
            registry=registry,
        )
        self.changes = Counter(
            "strongroom_changes",
            "Changes of payments and refunds by what gateways answered, by kind of event.",
            ["kind"],
            registry=registry,
        )
        self.frozen = Counter(
            "strongroom_frozen",
            "Payments and refunds put under review: a person has to look.",
            ["lane"],
            registry=registry,
        )
        for lane in LANES:
            self.frozen.labels(lane)  # at 0 from the start: what appears at 1 shows no increase
        self.calls = Histogram(
            "strongroom_gateway_call_seconds",
            "Calls to gateways, by what they answered.",
            ["gateway", "operation", "answer"],
            buckets=CALL_SECONDS,
            registry=registry,
        )
        self.late_answers = Counter(
            "strongroom_gateway_late_answers",
            "Answers that came after the deadline of their call.",
            ["gateway", "operation"],
            registry=registry,
        )

    def _make_line_metrics(self, registry: CollectorRegistry) -> None:
        self.withheld = Counter(
            "strongroom_calls_withheld",
            "Calls to gateways that were not made: a line rests, or the account has its share.",
            ["gateway", "operation", "why"],
            registry=registry,
        )
        self.resting = Gauge(
            "strongroom_lines_resting",
            "Lines (an operation at an account) whose breaker is not closed.",
            ["gateway", "operation"],
            registry=registry,
        )
        self.log_windows = Histogram(
            "strongroom_log_window_seconds",
            "From when an event was written until its entry was signed, or cosigned by a witness: "
            "the oldest of each checkpoint.",
            ["step", "witness"],
            buckets=WINDOW_SECONDS,
            registry=registry,
        )

    def refused(self, code: str) -> None:
        """One refusal more; codes are ours, and bounded all the same."""
        if code not in self._codes:
            if len(self._codes) >= CODES_MAX:
                code = OTHER
            self._codes.add(code)
        self.refusals.labels(code).inc()

    def add(self, collector: Collector) -> None:
        """Whatever the collector tells is told with the rest."""
        self._registry.register(collector)

    def text(self) -> bytes:
        """All metrics as they are now."""
        return generate_latest(self._registry)


class Watched:
    """A collector of gauges that are read when somebody looks, so that they cost nothing else."""

    def __init__(self) -> None:
        self._gauges: dict[str, list[tuple[str, Callable[[], float]]]] = {}

    def add(self, name: str, label: str, read: Callable[[], float]) -> None:
        """One more; `name` is one of GAUGES."""
        self._gauges.setdefault(name, []).append((label, read))

    def collect(self) -> Iterator[Metric]:
        """Their values now."""
        for name, gauges in self._gauges.items():
            label_name, text = GAUGES[name]
            family = GaugeMetricFamily(name, text, labels=[label_name])
            for label, read in gauges:
                family.add_metric([label], read())
            yield family


GAUGES: Final = {
    "strongroom_gateway_calls_in_flight": ("gateway", "Calls under way."),
    "strongroom_queue_items": ("batch", "Items that wait for their batch."),
    "strongroom_in_flight": ("lane", "Items that the worker is at."),
    "strongroom_log_windows_closed": ("reason", "Legal entities whose money is held back."),
    "strongroom_in_flight_max": ("lane", "Items that the worker takes at once, at most."),
}
"""What is watched: name of its label, and help."""


class _Lines:
    """A collector of the log's tally, and of what it says of the database."""

    def collect(self) -> Iterator[Metric]:
        """Lines by event, and those of them that say that the database did not answer."""
        lines = CounterMetricFamily(
            "strongroom_log_lines", "Log lines written.", labels=["event", "level"]
        )
        errors = CounterMetricFamily(
            "strongroom_errors",
            "Log lines of level error: something that this program has no answer to.",
            sum(count for (_, level), count in TALLY.lines.items() if level == "error"),
        )
        lost = CounterMetricFamily(
            "strongroom_database_unreachable",
            "Times that the database did not answer, or not in time, by who noticed.",
            labels=["event"],
        )
        for (event, level), count in (dict.fromkeys(AT_ZERO, 0) | TALLY.lines).items():
            lines.add_metric([event, level], count)
        for event, level in sorted(DATABASE_LOST):
            lost.add_metric([event], TALLY.lines.get((event, level), 0))
        yield lines
        yield errors
        yield lost
        yield CounterMetricFamily(
            "strongroom_log_keys_dropped",
            "Keys that log lines were called with and that the allow-list does not know.",
            TALLY.keys_dropped,
        )


def label_of(answer: type[object]) -> str:
    """The name of a kind of answer in the way of labels: `ActionRequired` → `action_required`."""
    name = answer.__name__
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
