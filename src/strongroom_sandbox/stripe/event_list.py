"""GET /v1/events: the list that a receiver catches up from (docs.stripe.com/api/events/list)."""

from dataclasses import dataclass
from itertools import islice

from strongroom_sandbox.stripe.books import Change
from strongroom_sandbox.stripe.errors import invalid, missing_resource
from strongroom_sandbox.stripe.events import snapshot
from strongroom_sandbox.stripe.form import Tree
from strongroom_sandbox.stripe.happened import Happened
from strongroom_sandbox.stripe.outcome import Outcome, Scene
from strongroom_sandbox.stripe.params import Params

TYPES_MAX = 20


@dataclass(frozen=True, slots=True)
class EventPage:
    """What a list of events asks for. ``created`` is inclusive Unix seconds."""

    limit: int
    after: str | None
    before: str | None
    created: tuple[int | None, int | None]
    types: tuple[str, ...]
    delivered: bool | None

    def takes(self, event: Happened) -> bool:
        """Tell whether the filters let an event through."""
        low, high = self.created
        noun = event.kind.rpartition(".")[0] + ".*"
        return (
            (low is None or event.created >= low)
            and (high is None or event.created <= high)
            and (not self.types or event.kind in self.types or noun in self.types)
            and (self.delivered is None or self.delivered == (event.undelivered == 0))
        )


def read_events(tree: Tree) -> EventPage:
    """Read the parameters of the list."""
    names = ("created", "type", "types", "delivery_success", "limit", "starting_after")
    params = Params(tree, (*names, "ending_before"), ("expand",))
    after, before = params.text("starting_after"), params.text("ending_before")
    if after is not None and before is not None:
        raise invalid("Give only one of starting_after and ending_before.", param="ending_before")
    kind, types = params.text("type"), params.words("types", TYPES_MAX)
    if kind is not None and types:
        raise invalid("You may only specify one of these parameters: type, types.", param="type")
    return EventPage(
        limit=params.limit(),
        after=after,
        before=before,
        created=params.created(),
        types=types if kind is None else (kind,),
        delivered=params.boolean("delivery_success"),
    )


def list_events(scene: Scene, page: EventPage) -> Outcome:
    """Show events, newest first."""
    cursor = page.after or page.before
    kept = list(scene.books.happenings.newest(scene.now))
    if cursor is not None:
        places = [place for place, event in enumerate(kept) if event.id == cursor]
        if not places:
            name = "starting_after" if page.after else "ending_before"
            raise missing_resource("event", cursor[:100], name, status=400)
        kept = kept[places[0] + 1 :] if page.after else kept[: places[0]][::-1]
    found = list(islice((event for event in kept if page.takes(event)), page.limit + 1))
    shown = found[: page.limit][::-1] if page.before else found[: page.limit]
    data = [_shown(event) for event in shown]
    body = {
        "object": "list",
        "url": "/v1/events",
        "has_more": len(found) > page.limit,
        "data": data,
    }
    return Outcome(Change(time=scene.now), body=body)


def retrieve_event(scene: Scene, event_id: str) -> Outcome:
    """Show one event."""
    event = scene.books.happenings.find(event_id, scene.now)
    if event is None:
        raise missing_resource("event", event_id[:100], "id")
    return Outcome(Change(time=scene.now), body=_shown(event))


def _shown(event: Happened) -> dict[str, object]:
    body = snapshot(event.id, event.kind, event.render(), event.created)
    return body | {"pending_webhooks": event.undelivered}
