"""Gauges of the signer's process: what it signs no more, and how far witnesses are behind.

They come from the signer's memory and from what it published, not from the database, whose owner
could have them say what he likes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric

from strongroom.telemetry.port import Behind


class SigningGauges:
    """A collector of the library's; asks whenever somebody looks."""

    def __init__(
        self, stopped: Callable[[], Mapping[str, int]], behind: Callable[[], Sequence[Behind]]
    ) -> None:
        self._stopped, self._behind = stopped, behind

    def collect(self) -> Iterator[Metric]:
        """The values now."""
        stopped = GaugeMetricFamily(
            "strongroom_logs_stopped",
            "Logs that are signed no more, by what was found.",
            labels=["reason"],
        )
        for reason, number in self._stopped().items():
            stopped.add_metric([reason], number)
        yield stopped
        found = self._behind()
        for name, text, field in (
            ("logs_contradicted", "Logs of which a witness saw another history.", "contradicted"),
            ("log_uncosigned_entries", "Entries signed, and not yet cosigned.", "entries"),
            (
                "log_uncosigned_seconds",
                "Age of the oldest event that a witness has not cosigned.",
                "seconds",
            ),
        ):
            family = GaugeMetricFamily(f"strongroom_{name}", text, labels=["witness"])
            for one in found:
                family.add_metric([one.witness], getattr(one, field))
            yield family
