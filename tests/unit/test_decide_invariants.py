"""What holds for every payment, whatever happens to it.

Each rule says whether it had anything to say about a case, so that a rule which never applies is
noticed.
"""

from collections import Counter
from datetime import datetime, timedelta
from itertools import islice, product

from hypothesis import given, settings

from strongroom.payments.decide import decide
from strongroom.payments.states import Happening, NotPossible, Payment
from tests.plugins.short import share
from tests.unit import rules, rules_of_holds
from tests.unit.examples import (
    CAPTURE_BEFORE,
    NOT_AFTER,
    START,
    every_happening,
    every_payment,
    happenings,
    moments,
    payments,
)

LATER = START + timedelta(hours=21)
RULES = (*rules.RULES, *rules_of_holds.RULES)


def applying(before: Payment, happening: Happening, now: datetime) -> list[str]:
    """Checks every rule; the names of those that had something to say."""
    try:
        made = decide(before, happening, now)
    except NotPossible:
        return []
    return [rule.__name__ for rule in RULES if rule(before, happening, now, made)]


@settings(max_examples=share(3000, 400), deadline=None)
@given(payments, happenings, moments)
def test_the_rules_hold_for_anything(before, happening, now):
    applying(before, happening, now)


def test_the_rules_hold_for_every_combination_and_each_has_something_to_say():
    applied: Counter[str] = Counter()
    every = list(product(every_happening(), (START, NOT_AFTER, LATER, CAPTURE_BEFORE)))
    for before in islice(every_payment(), 0, None, share(1, 7)):
        for happening, now in every:
            applied.update(applying(before, happening, now))
    assert set(applied) == {rule.__name__ for rule in RULES}
