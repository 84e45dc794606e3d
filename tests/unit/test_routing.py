"""Rules of routes: read strictly with the line that is wrong, the first that matches decides."""

import os
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from strongroom.config import ConfigurationError
from strongroom.gateways.port import Account
from strongroom.gateways.routing import Capabilities, Facts, Market, Token, plan
from strongroom.gateways.rules import FILE, LOOK_SECONDS, Routes, read_rules
from strongroom.ids import to_text
from tests.unit.examples import ENTITY

GATEWAYS = ("stripe", "braintree")
ALL = Capabilities(able=frozenset({"sca", "recurring", "tax"}), payout_days=3)
SOME = Capabilities(able=frozenset({"sca"}), payout_days=7, currencies=frozenset({"EUR", "USD"}))
FACTS = Facts(legal_entity_id=ENTITY, amount_minor=2000, currency="EUR", country="DE")
FILE_TEXT = """\
# cards of Europe to the account with native 3-D Secure
[[rule]]
name = "european cards"
currency = ["EUR", "SEK"]
country = ["DE", "FR"]
needs = "sca"
use = ["stripe", "braintree"]

[[rule]]
name = "recurring"
off_session = true
needs = ["recurring"]
use = "stripe"

[[rule]]
name = "large"
amount_from = 100000
use = "braintree"

[[rule]]
name = "all else"
use = ["braintree", "stripe"]
"""


def account(number, gateway="stripe"):
    return Account(
        legal_entity_id=ENTITY,
        gateway_account_id=UUID(int=number + (7 << 76)),
        gateway=gateway,
        environment="stand_in",
        base_url=None,
    )


FIRST, SECOND, THIRD = account(1), account(2), account(3, "braintree")
MARKET = Market(accounts=[FIRST, SECOND, THIRD], capabilities={"stripe": ALL, "braintree": SOME})
RULES = read_rules(FILE_TEXT, GATEWAYS)
CARD = [Token("stripe", "pm_1")]


def accounts_of(found):
    return [way.gateway_account_id.int & 0xF for way in found.ways]


def test_the_first_rule_that_matches_decides_and_says_why_the_others_did_not():
    found = plan(RULES, MARKET, replace(FACTS, country=None, off_session=True), CARD)
    assert found.rule == "recurring"
    assert [(one.rule, one.why) for one in found.considered] == [
        ("european cards", "country is not known"),
        ("recurring", None),
    ]
    assert accounts_of(found) == [1, 2]
    assert [way.token for way in found.ways] == ["pm_1", None]


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        ({}, "european cards"),
        ({"currency": "USD"}, "all else"),
        ({"country": "US"}, "all else"),
        ({"country": "US", "amount_minor": 100000}, "all else"),
        ({"country": "US", "off_session": True}, "recurring"),
    ],
)
def test_conditions_choose(facts, rule):
    assert plan(RULES, MARKET, replace(FACTS, **facts), CARD).rule == rule


def test_a_rule_whose_accounts_have_no_token_of_the_instrument_is_passed_over():
    large = replace(FACTS, country="US", amount_minor=100000)
    assert plan(RULES, MARKET, large, []).rule == "large"
    found = plan(RULES, MARKET, large, CARD)
    assert ("large", "the instrument has no token at its accounts") in [
        (one.rule, one.why) for one in found.considered
    ]
    # The way with the token comes first, the one before it in the rule's order is next.
    assert (found.rule, accounts_of(found)) == ("all else", [1, 3, 2])


def test_what_a_gateway_cannot_do_it_is_not_asked_for():
    yen = replace(FACTS, currency="JPY", country="US")
    assert accounts_of(plan(RULES, MARKET, yen, [])) == [1, 2]
    days = read_rules(
        '[[rule]]\nname="a"\npayout_days_max=5\nuse=["braintree", "stripe"]', GATEWAYS
    )
    assert accounts_of(plan(days, MARKET, FACTS, [])) == [1, 2]
    none = read_rules('[[rule]]\nname="a"\npayout_days_max=1\nuse="stripe"', GATEWAYS)
    assert plan(none, MARKET, FACTS, CARD).rule is None


def test_without_rules_the_instrument_decides_and_each_token_has_an_account_of_its_own():
    assert accounts_of(plan((), MARKET, FACTS, CARD)) == [1]
    two = [Token("stripe", "pm_1"), Token("stripe", "pm_2")]
    found = plan((), MARKET, FACTS, two)
    assert [(way.gateway_account_id, way.token) for way in found.ways] == [
        (FIRST.gateway_account_id, "pm_1"),
        (SECOND.gateway_account_id, "pm_2"),
    ]
    named = plan((), MARKET, FACTS, [Token("stripe", "pm_2", SECOND.gateway_account_id), *CARD])
    assert [(way.gateway_account_id, way.token) for way in named.ways] == [
        (SECOND.gateway_account_id, "pm_2"),
        (FIRST.gateway_account_id, "pm_1"),
    ]
    assert plan((), MARKET, FACTS, [Token("paypal", "x")]).ways == ()


@given(
    st.sampled_from(["EUR", "USD", "JPY"]),
    st.sampled_from([None, "DE", "US"]),
    st.integers(1, 200_000),
    st.booleans(),
    st.lists(
        st.sampled_from(
            [
                Token("stripe", "s"),
                Token("braintree", "b"),
                Token("stripe", "second", SECOND.gateway_account_id),
            ]
        ),
        unique=True,
    ),
)
def test_a_token_is_only_ever_paired_with_an_account_that_it_is_for(
    currency, country, amount, off_session, tokens
):
    facts = Facts(
        legal_entity_id=ENTITY,
        amount_minor=amount,
        currency=currency,
        country=country,
        off_session=off_session,
    )
    found = plan(RULES, MARKET, facts, tokens)
    assert found == plan(RULES, MARKET, facts, tokens)
    assert len({way.gateway_account_id for way in found.ways}) == len(found.ways)
    for way in found.ways:
        if way.token == "second":
            assert way.gateway_account_id == SECOND.gateway_account_id
        elif way.token is not None:
            assert way.gateway == {"s": "stripe", "b": "braintree"}[way.token]
    used = [way.token for way in found.ways if way.token is not None]
    assert len(set(used)) == len(used)
    if tokens and found.rule is not None:
        assert found.ways[0].token is not None


@pytest.mark.parametrize(
    ("wrong", "line", "what"),
    [
        ("[[rule]\n", 1, ""),
        ('[[rule]]\nuse = "stripe"\n', 1, "has no name"),
        ('[[rule]]\nname = "a"\n', 1, "has no use"),
        ('\n[[rule]]\nname = "a"\nuse = "paypal"\n', 4, "'paypal'"),
        ('[[rule]]\nname = "a"\nuse = "stripe"\ncolour = "red"\n', 4, "colour is not known"),
        ('[[rule]]\nname = "a"\nuse = "stripe"\ncurrency = "eur"\n', 4, "no currency"),
        ('[[rule]]\nname = "a"\nuse = "stripe"\ncountry = ["Germany"]\n', 4, "two capital"),
        ('[[rule]]\nname = "a"\nuse = "stripe"\namount_from = 1.5\n', 4, "whole number"),
        ('[[rule]]\nname = "a"\nuse = "stripe"\namount_from = true\n', 4, "whole number"),
        ('[[rule]]\nname = "a"\nuse = []\n', 3, "list of 1"),
        ('[[rule]]\nname = "a"\nuse = ["stripe", "stripe"]\n', 3, "twice"),
        ('[[rule]]\nname = "a"\nuse = "stripe"\nneeds = "speed"\n', 4, "'speed'"),
        ('[[rule]]\nname = "a"\nuse = "stripe"\noff_session = "yes"\n', 4, "true or false"),
        ('[[rule]]\nname = "a"\nuse = "stripe"\ncapture = "later"\n', 4, "manual"),
        ('[[rule]]\nname = "a"\nuse = "stripe"\nentity = "acme"\n', 4, "ent_"),
        (
            '[[rule]]\nname = "a"\nuse = "stripe"\namount_from = 9\namount_below = 9\n',
            5,
            "not above",
        ),
        (
            '[[rule]]\nname = "a"\nuse = "stripe"\n\n[[rule]]\nname = "a"\nuse = "stripe"\n',
            6,
            "another rule",
        ),
        ('[[rules]]\nname = "a"\nuse = "stripe"\n', 1, "only [[rule]]"),
        ('[rule]\nname = "a"\nuse = "stripe"\n', 1, "begins with [[rule]]"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(wrong, line, what):
    with pytest.raises(ConfigurationError) as refusal:
        read_rules(wrong, GATEWAYS)
    assert f"line {line}" in str(refusal.value)
    assert what in str(refusal.value)


def test_an_account_may_be_used_by_its_id():
    text = f'[[rule]]\nname = "b"\nuse = "{to_text("gwa", SECOND.gateway_account_id)}"\n'
    rules = read_rules(text, GATEWAYS)
    assert accounts_of(plan(rules, MARKET, FACTS, [])) == [2]


def test_a_changed_file_is_read_without_a_restart_and_a_wrong_one_changes_nothing(tmp_path):
    seconds = 0.0
    file = tmp_path / FILE
    routes = Routes(tmp_path, GATEWAYS, lambda: seconds)
    assert routes() == ()

    def write(text):
        nonlocal seconds
        file.write_text(text)
        os.utime(file, ns=(1, int(seconds * 1e9) + 1))
        seconds += LOOK_SECONDS

    write(FILE_TEXT)
    assert [rule.name for rule in routes()] == [rule.name for rule in RULES]
    write("[[rule]]\n")
    assert len(routes()) == len(RULES)
    write('[[rule]]\nname = "one"\nuse = "stripe"\n')
    assert [rule.name for rule in routes()] == ["one"]
    file.unlink()
    seconds += LOOK_SECONDS
    assert routes() == ()


def test_a_process_does_not_start_on_a_wrong_file(tmp_path):
    (tmp_path / FILE).write_text("[[rule]]\n")
    with pytest.raises(ConfigurationError, match="line 1"):
        Routes(tmp_path, GATEWAYS)


HEALTHY = read_rules(
    '[[rule]]\nname="well"\nhealth="closed"\nuse=["stripe"]\n'
    '[[rule]]\nname="any"\nuse=["braintree", "stripe"]',
    GATEWAYS,
)


def resting(*accounts):
    return Market(
        accounts=MARKET.accounts,
        capabilities=MARKET.capabilities,
        resting=frozenset(one.gateway_account_id for one in accounts),
    )


def test_an_account_at_rest_is_passed_over_by_a_rule_that_asks_for_health_and_by_no_other():
    assert accounts_of(plan(HEALTHY, resting(), FACTS, [])) == [1, 2]
    assert accounts_of(plan(HEALTHY, resting(FIRST), FACTS, [])) == [2]
    found = plan(HEALTHY, resting(FIRST, SECOND), FACTS, [])
    assert (found.rule, accounts_of(found)) == ("any", [3, 1, 2])
    assert found.considered[0].why == "its accounts are at rest"


def test_a_token_at_an_account_at_rest_is_charged_there_all_the_same():
    at_first = [Token("stripe", "pm_1", FIRST.gateway_account_id)]
    found = plan(HEALTHY[:1], resting(FIRST), FACTS, at_first)
    assert (found.rule, accounts_of(found)) == (None, [1])
    assert found.considered[0].why == "the instrument has no token at its accounts"


def test_what_is_kept_to_be_charged_again_can_be_a_condition():
    rules = read_rules('[[rule]]\nname="kept"\nsaves=true\nneeds="tax"\nuse="stripe"', GATEWAYS)
    assert plan(rules, MARKET, FACTS, []).considered[0].why == "its instrument is not kept"
    assert plan(rules, MARKET, replace(FACTS, saves=True), []).rule == "kept"


@pytest.mark.parametrize("text", ['health = "open"', "health = true", 'saves = "yes"'])
def test_conditions_of_health_and_saving_are_read_strictly(text):
    with pytest.raises(ConfigurationError, match="line 3"):
        read_rules(f'[[rule]]\nname="a"\n{text}\nuse="stripe"', GATEWAYS)
