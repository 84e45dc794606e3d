"""What a walk will ask for: cases that Schemathesis draws from the OpenAPI document.

A plan is drawn before anything is sent, so that it depends on the seed alone. Which ids its steps
go on with is drawn as a number, and looked up in what was answered when its turn comes.
"""

from itertools import chain
from typing import Any, Final

import schemathesis
from hypothesis import strategies as st
from msgspec import Struct
from schemathesis import Case, GenerationMode
from schemathesis.generation.meta import TestPhase
from schemathesis.schemas import APIOperation

from strongroom_sandbox.stripe.cards import CARDS
from tests.acceptance import contract

AnyCase = Case[Any]
Body = dict[str, Any]
Story = tuple[tuple[str, Body], ...]

BETWEEN_MAX: Final = 3
PICKS: Final = 4
OLDEST: Final = -1
WEIGHTS: Final = {
    "get_payment": 6, "create_payment": 10, "capture_payment": 12, "confirm_payment": 10,
    "cancel_payment": 6, "create_refund": 12, "create_payments": 6, "create_refunds": 8,
    "list_payments": 8, "get_refund": 6, "list_refunds": 6,
}  # fmt: skip
"""How often an operation is asked for, out of all of them."""
WEIGHT_ELSE: Final = 3
GOOD_CARD: Final = "pm_card_visa"
CHALLENGED_CARD: Final = "pm_card_threeDSecure2Required"
SHAPED: Final = 85
"""Of 100 bodies that keep to their schema, how many are given values that get far."""
NEGATIVE: Final = 35
"""Of 100 cases, how many are to break the schema."""

_amount: Final = st.integers(5, 500).map(lambda tens: tens * 10)
_token: Final = st.one_of(st.just(GOOD_CARD), st.just(GOOD_CARD), st.sampled_from(sorted(CARDS)))
_instrument: Final = st.fixed_dictionaries({"gateway": st.just("stripe"), "token": _token})
LIKELY: Final[dict[str, dict[str, st.SearchStrategy[Any]]]] = {
    "create_payment": {
        "amount": _amount,
        "currency": st.sampled_from(("EUR", "eur", "USD", "GBP", "JPY", "ISK", "KWD")),
        "instrument": st.one_of(_instrument, _instrument, _instrument, st.none()),
        "capture": st.sampled_from(("manual", "automatic")),
        "not_after": st.none(),
    },
    "confirm_payment": {"instrument": st.one_of(_instrument, st.none())},
    "capture_payment": {"amount": st.one_of(st.none(), _amount)},
    "create_refund": {"amount": st.one_of(st.none(), st.integers(1, 40).map(lambda n: n * 10))},
}
"""By operation, values of fields with which a request can succeed; real tokens among them."""


def _card(token: str) -> Body:
    return {"instrument": {"gateway": "stripe", "token": token}}


STORIES: Final[tuple[Story, ...]] = (
    (
        ("create_payment", {"capture": "manual", **_card(GOOD_CARD)}),
        ("capture_payment", {}),
        ("create_refund", {"amount": 10}),
        ("get_refund", {}),
        ("create_refund", {}),
        ("get_payment", {}),
    ),
    (
        ("create_payment", {"capture": "automatic", **_card(GOOD_CARD)}),
        ("create_refund", {"amount": 20}),
        ("create_refunds", {}),
        ("list_refunds", {}),
        ("get_payment", {}),
    ),
    (
        ("create_payment", {"instrument": None}),
        ("confirm_payment", _card(GOOD_CARD)),
        ("create_refund", {}),
        ("cancel_payment", {}),
    ),
    (
        ("create_payment", {"capture": "manual", **_card(GOOD_CARD)}),
        ("cancel_payment", {}),
        ("list_payments", {}),
    ),
    (
        ("create_payment", _card(CHALLENGED_CARD)),
        ("confirm_payment", {"instrument": None}),
        ("cancel_payment", {}),
        ("get_payment", {}),
    ),
    (
        ("create_payments", {"payments": [{"capture": "automatic", **_card(GOOD_CARD)}]}),
        ("get_payment", {}),
        ("create_refunds", {}),
        ("get_refund", {}),
    ),
)
"""Ways that get far; a walk takes one, and leaves it as it likes."""
ITEMS: Final = {"create_payments": "create_payment", "create_refunds": "create_refund"}


class Step(Struct, frozen=True):
    """One request of a walk.

    `picks` choose among the values that earlier answers give for what a link can fill; `alone`
    leaves these as they were drawn. `fresh`: keys and references are new, not those of an earlier
    step. `again`: the same bytes are sent once more.
    """

    operation_id: str
    case: AnyCase
    picks: tuple[int, ...] = ()
    alone: bool = False
    fresh: bool = True
    again: bool = False
    waits: bool = True
    caller: str = "own"


class Catalogue:
    """The operations of the document as Schemathesis knows them."""

    def __init__(self) -> None:
        self.schema = schemathesis.openapi.from_dict(contract.OPENAPI)
        self.schema.config.generation.update(with_security_parameters=False)
        self.schema.config.output.sanitization.update(enabled=False)
        self.operations: dict[str, APIOperation[Any, Any, Any, Any]] = {}
        for result in self.schema.get_all_operations():
            operation = result.ok()
            self.operations[operation.definition.raw["operationId"]] = operation
        self._cases = {
            (operation_id, mode): operation.as_strategy(
                generation_mode=mode, phase=TestPhase.STATEFUL
            )
            for operation_id, operation in self.operations.items()
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        }
        names = sorted(self.operations, key=lambda name: name not in WEIGHTS)
        self._turns = [name for name in names for _ in range(WEIGHTS.get(name, WEIGHT_ELSE))]

    def plans(self) -> st.SearchStrategy[list[Step]]:
        """Plans of a walk: a story, with whatever comes between its steps."""
        return st.sampled_from(STORIES).flatmap(self._told)

    def _told(self, story: Story) -> st.SearchStrategy[list[Step]]:
        parts = []
        for operation_id, values in story:
            parts += [self._between(), self._story_step(operation_id, values)]
        return st.tuples(*parts, self._between()).map(lambda found: list(chain(*found)))

    def _between(self) -> st.SearchStrategy[list[Step]]:
        return st.lists(self._step(), max_size=BETWEEN_MAX)

    def _story_step(self, operation_id: str, values: Body) -> st.SearchStrategy[list[Step]]:
        @st.composite
        def step(draw: st.DrawFn) -> list[Step]:
            case = draw(self._cases[operation_id, GenerationMode.POSITIVE])
            case.body = _with(draw(_shaped(operation_id, case.body)), values)
            return [Step(operation_id, case, picks=(OLDEST,) * PICKS)]

        return step()

    def _step(self) -> st.SearchStrategy[Step]:
        @st.composite
        def step(draw: st.DrawFn) -> Step:
            operation_id = draw(st.sampled_from(self._turns))
            breaks = draw(_one_in_hundred) >= 100 - NEGATIVE
            mode = GenerationMode.NEGATIVE if breaks else GenerationMode.POSITIVE
            case = draw(self._cases[operation_id, mode])
            if not breaks and draw(_one_in_hundred) < SHAPED:
                case.body = draw(_shaped(operation_id, case.body))
            return Step(
                operation_id,
                case,
                picks=draw(_picks),
                alone=draw(_one_in_hundred) >= 95,
                fresh=draw(_one_in_hundred) < 92,
                again=draw(_one_in_hundred) >= 90,
                waits=draw(_one_in_hundred) < 40,
                caller=draw(_caller),
            )

        return step()


_one_in_hundred: Final = st.integers(0, 99)
_picks: Final = st.tuples(*[st.integers(0, 9)] * PICKS)
_caller: Final = st.sampled_from(["own"] * 28 + ["other", "nobody"])


@st.composite
def _shaped(draw: st.DrawFn, operation_id: str, body: Any) -> Any:
    """The body with values that get far; of a bulk, its items."""
    if operation_id in ITEMS and isinstance(body, dict):
        return {
            name: [draw(_shaped(ITEMS[operation_id], item)) for item in items]
            for name, items in body.items()
        }
    if operation_id not in LIKELY or not isinstance(body, dict):
        return body
    likely = {name: draw(values) for name, values in LIKELY[operation_id].items()}
    return {**body, **likely}


def _with(body: Any, values: Body) -> Any:
    """The body with these values; of a list, in each item."""
    if not isinstance(body, dict):
        return body
    made = {**body}
    for name, value in values.items():
        if isinstance(value, list):
            made[name] = [_with(item, value[0]) for item in body[name]]
        else:
            made[name] = value
    return made
