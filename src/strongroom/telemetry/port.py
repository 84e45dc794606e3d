"""What the parts of a process tell of their work, and the one who does not listen."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from uuid import UUID

if TYPE_CHECKING:  # the nouns that import this module
    import asyncpg

    from strongroom.gateways.port import Gateway
    from strongroom.work.worker import Desk

Item = TypeVar("Item")


class Behind(NamedTuple):
    """How one witness stands, over all logs."""

    witness: str
    entries: int
    """Signed, and not yet cosigned."""
    seconds: float
    """Since the oldest of them was written."""
    contradicted: int
    """Logs of which it saw another history."""


class NoTelemetry:
    """Listens to nothing: the default of every part, and what `telemetry: false` leaves.

    What is told is told on the paths of payments, so none of that may raise, wait, or cost more
    than a few microseconds for each call.
    """

    def start(self) -> None:
        """Starts what runs beside the process's work, in the running loop."""

    async def close(self) -> None:
        """Stops that."""

    def watched_gateway(self, name: str, gateway: "Gateway") -> "Gateway":  # noqa: ARG002
        """The gateway, with its calls seen."""
        return gateway

    def watched_desk(
        self,
        lane: str,  # noqa: ARG002
        desk: "Desk[Item]",
        in_flight_max: int,  # noqa: ARG002
    ) -> "Desk[Item]":
        """The desk, with its claims seen."""
        return desk

    def read_open_work(self, pool: "asyncpg.Pool", buckets: Sequence[int]) -> None:
        """Reads now and then what is open in these buckets, once started."""

    def read_secrets_due(self, pool: "asyncpg.Pool") -> None:
        """Reads now and then when secrets have to be rotated, and evidence given, once started."""

    def watch(self, name: str, label: str, read: Callable[[], float]) -> None:
        """The gauge `name` of `label` is `read()` whenever somebody looks."""

    def batch(self, name: str) -> "BatchTelemetry":
        """What the batches of this name tell."""
        return BatchTelemetry(name, self)

    def batch_written(
        self, batch: str, items: Sequence[Any], results: Sequence[Any], seconds: float
    ) -> None:
        """A batch is on disk; its transaction took so long, its COMMIT included."""

    def payment_taken_in(self, payment_id: UUID) -> None:
        """The request that the running task works for asks for this payment to be made."""

    def answered(
        self, route: str, status: int, seconds: float, waited: bool, traceparent: bytes | None
    ) -> None:
        """A request was answered; `waited` when its caller asked us to take our time.

        `traceparent` is the caller's own trace, where callers are trusted with that.
        """

    def refused(self, code: str) -> None:
        """A request was answered by a problem document with this code."""

    def webhook_received(self, gateway: str, lane: str, stored: str) -> None:
        """A genuine webhook is on disk: of which lane, or `parked` or `ignored`; new or not."""

    def read_hints(self, pool: "asyncpg.Pool", buckets: Sequence[int]) -> None:
        """Reads now and then which webhooks wait or are parked in these buckets, once started."""

    def read_log_lag(self, url: str) -> None:
        """Reads now and then, by the sequencer's login, how far the log is behind, once started."""

    def watch_signing(
        self, stopped: Callable[[], Mapping[str, int]], behind: Callable[[], Sequence[Behind]]
    ) -> None:
        """Logs that are signed no more, by reason, and witnesses are so whenever somebody looks."""

    def log_protected(self, step: str, witness: str, seconds: float) -> None:
        """So long after an event was written its entry is `signed`, or `cosigned` by a witness."""

    def call_withheld(self, gateway: str, operation: str, why: str) -> None:
        """A call to a gateway was not made, by our own choice."""

    def line_turned(self, gateway: str, operation: str, before: str, after: str) -> None:
        """The breaker of one operation at one account went from one state to another."""

    def claimed(self, lane: str, items: Sequence[Any], seconds: float) -> None:
        """A worker took these due items; none, when nothing was due."""


class BatchTelemetry:
    """What one kind of batch tells, under its name."""

    def __init__(self, name: str, telemetry: NoTelemetry) -> None:
        self.name = name
        self._telemetry = telemetry

    def watch(self, queued: Callable[[], int]) -> None:
        """How many items wait is `queued()`."""
        self._telemetry.watch("strongroom_queue_items", self.name, queued)

    def written(self, items: Sequence[Any], results: Sequence[Any], seconds: float) -> None:
        """A batch is on disk; its transaction took so long, its COMMIT included."""
        self._telemetry.batch_written(self.name, items, results, seconds)


NO_TELEMETRY: Final = NoTelemetry()
NO_BATCH_TELEMETRY: Final = BatchTelemetry("batch", NO_TELEMETRY)
