"""The events that the provider lists for a while: newest first, and what became of their delivery.

Other than at the provider they are forgotten when the process ends, and beyond EVENTS_MAX.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

EVENTS_MAX = 20_000
KEPT_SECONDS = 30 * 86_400  # docs.stripe.com/api/events/list: going back up to 30 days

Json = dict[str, Any]


@dataclass(slots=True)
class Happened:
    """One event. ``undelivered`` counts the endpoints that have not answered it with 2xx."""

    id: str
    kind: str
    created: int
    render: Callable[[], Json]
    undelivered: int = 0

    def taken(self) -> None:
        """One more endpoint has answered it with 2xx."""
        self.undelivered -= 1


class Happenings:
    """Keeps the newest events, in the order in which they happened."""

    def __init__(self) -> None:
        self._kept: deque[Happened] = deque(maxlen=EVENTS_MAX)
        self._by_id: dict[str, Happened] = {}

    def add(self, event: Happened) -> None:
        """One more; the oldest may go for it."""
        if len(self._kept) == EVENTS_MAX:
            del self._by_id[self._kept[0].id]
        self._kept.append(event)
        self._by_id[event.id] = event

    def find(self, event_id: str, now: int) -> Happened | None:
        """The event of this id, as long as it is listed."""
        found = self._by_id.get(event_id)
        return found if found is not None and found.created >= now - KEPT_SECONDS else None

    def newest(self, now: int) -> Iterator[Happened]:
        """From the newest on, as far back as they are listed."""
        for event in reversed(self._kept):
            if event.created < now - KEPT_SECONDS:
                return
            yield event
