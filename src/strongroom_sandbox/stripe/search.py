"""Stripe's search query language for PaymentIntents (docs.stripe.com/search).

Terms joined by AND or by OR, not both: ``status:'succeeded' AND metadata['order']:'7'``.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from strongroom_sandbox.stripe.books import Intent
from strongroom_sandbox.stripe.errors import Refusal, invalid

QUERY_CHARACTERS_MAX = 2000
CLAUSES_MAX = 10
SUBSTRING_CHARACTERS_MIN = 3

TOKEN = re.compile(
    r"""\s*(?P<minus>-)?
    (?P<field>[a-z_]+)(?:\[(?P<key>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\])?
    \s*(?P<operator>:|~|>=|<=|>|<)\s*
    (?P<value>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|null|-?[0-9]+)
    \s*(?P<join>AND|and|OR|or)?""",
    re.VERBOSE,
)
NUMBERS = ("amount", "created")
TEXTS = ("currency", "customer", "status", "metadata")
COMPARE: dict[str, Callable[[int, int], bool]] = {
    ":": lambda held, asked: held == asked,
    ">": lambda held, asked: held > asked,
    "<": lambda held, asked: held < asked,
    ">=": lambda held, asked: held >= asked,
    "<=": lambda held, asked: held <= asked,
}


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison. ``value`` is None for null, ``key`` is set for metadata only."""

    field: str
    key: str | None
    operator: str
    value: str | None
    negated: bool

    def meets(self, intent: Intent) -> bool:
        """Tell whether the intent fits this term."""
        return self._compare(intent) != self.negated

    def _compare(self, intent: Intent) -> bool:
        if self.field in NUMBERS:
            held = intent.amount if self.field == "amount" else intent.created
            return self.value is not None and COMPARE[self.operator](held, int(self.value))
        text = intent.metadata.get(self.key or "")
        if self.field != "metadata":
            text = getattr(intent, self.field)
        if self.value is None or text is None:
            return text is None and self.value is None
        # Stripe's match is not sensitive to case.
        if self.operator == "~":
            return self.value.lower() in text.lower()
        return self.value.lower() == text.lower()


@dataclass(frozen=True, slots=True)
class Query:
    """A whole query."""

    terms: tuple[Term, ...]
    every: bool

    def meets(self, intent: Intent) -> bool:
        """Tell whether the intent fits the query."""
        fits = (term.meets(intent) for term in self.terms)
        return all(fits) if self.every else any(fits)


def read_query(text: str) -> Query:
    """Read a query. Raises Refusal (400) for one that cannot be read."""
    if len(text) > QUERY_CHARACTERS_MAX:
        raise _unreadable()
    terms: list[Term] = []
    joins: set[str] = set()
    position, open_end = 0, True
    while position < len(text) and open_end:
        found = TOKEN.match(text, position)
        if found is None or len(terms) >= CLAUSES_MAX:
            raise _unreadable()
        terms.append(_term(found))
        position = found.end()
        open_end = found["join"] is not None
        if found["join"] is not None:
            joins.add(found["join"].upper())
    if not terms or open_end or text[position:].strip() or len(joins) > 1:
        raise _unreadable()
    return Query(tuple(terms), "OR" not in joins)


def _term(found: re.Match[str]) -> Term:
    name, key, operator, value = found["field"], found["key"], found["operator"], found["value"]
    quoted = value[0] in "'\""
    plain = _unquoted(value) if quoted else value
    if (name == "metadata") != (key is not None):
        raise _unreadable()
    if name in NUMBERS:
        fine = operator in COMPARE and plain.removeprefix("-").isdigit() and plain.isascii()
    else:
        fine = name in TEXTS and operator in (":", "~") and (quoted or value == "null")
        fine = fine and not (operator == "~" and len(plain) < SUBSTRING_CHARACTERS_MIN)
    if not fine:
        raise _unreadable()
    return Term(
        field=name,
        key=None if key is None else _unquoted(key),
        operator=operator,
        value=None if value == "null" else plain,
        negated=found["minus"] is not None,
    )


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _unreadable() -> Refusal:
    return invalid("The search query cannot be read.", param="query")
