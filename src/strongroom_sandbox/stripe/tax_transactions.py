"""Stripe Tax: what of calculations is reported, and taken back (docs.stripe.com/tax/custom).

A reference is used once among all transactions. A reversal takes back part of what is left, by
lines or by a flat amount; a full reversal of a partial one undoes that.
"""

from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from strongroom_sandbox.stripe.books import Books, Change
from strongroom_sandbox.stripe.errors import Refusal, invalid, missing_resource
from strongroom_sandbox.stripe.form import Tree
from strongroom_sandbox.stripe.outcome import Outcome, Scene, new_id
from strongroom_sandbox.stripe.params import Params
from strongroom_sandbox.stripe.shapes import Shapes
from strongroom_sandbox.stripe.tax import find as find_calculation
from strongroom_sandbox.stripe.tax import page_of_lines
from strongroom_sandbox.stripe.tax_records import Taxed, TaxLine
from strongroom_sandbox.stripe.tax_shapes import LINES, taxed_shape

EXPAND = frozenset((LINES,))
REFERENCE_CHARACTERS_MAX = 500
LINES_MAX = 100
PARTIAL_REVERSALS_MAX = 30

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Create:
    """Parameters of create_from_calculation."""

    calculation: str
    reference: str
    metadata: dict[str, str]
    posted_at: int | None
    expand: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What of one line is reversed; amounts below zero. ``line`` is None for the shipping."""

    line: str | None
    amount: int
    amount_tax: int
    reference: str


@dataclass(frozen=True, slots=True)
class Reverse:
    """Parameters of create_reversal."""

    original: str
    reference: str
    full: bool
    flat_amount: int | None
    parts: tuple[Part, ...]
    metadata: dict[str, str]
    expand: tuple[str, ...]


def read_create(tree: Tree) -> Create:
    """Read the parameters of create_from_calculation. Raises Refusal (400)."""
    params = Params(tree, ("calculation", "reference", "metadata", "posted_at", "expand"))
    return Create(
        calculation=params.required_text("calculation"),
        reference=_reference(params),
        metadata=params.metadata() or {},
        posted_at=params.integer("posted_at"),
        expand=params.expand(EXPAND),
    )


def create_from_calculation(scene: Scene, _: str, command: Create, __: Shapes) -> Outcome:
    """Report what was calculated, under a reference that nobody used before."""
    calculation = find_calculation(scene, command.calculation, status=400)
    _check_free(scene.books, command.reference)
    if command.posted_at is not None and command.posted_at > scene.now:
        raise invalid("posted_at must not lie in the future.", param="posted_at")
    made = Taxed(
        id=new_id("tax"),
        created=scene.now,
        currency=calculation.currency,
        reference=command.reference,
        lines=tuple(replace(line, id=new_id("tax_li")) for line in calculation.lines),
        shipping=calculation.shipping,
        customer=calculation.customer,
        tax_date=calculation.tax_date,
        posted_at=scene.now if command.posted_at is None else command.posted_at,
        metadata=command.metadata,
        calculation=calculation.id,
        idempotency_key=scene.key,
    )
    return _made(scene, made, command.expand)


def read_reversal(tree: Tree) -> Reverse:
    """Read the parameters of create_reversal. Raises Refusal (400)."""
    params = Params(
        tree,
        (
            "original_transaction", "reference", "mode", "flat_amount", "line_items",
            "shipping_cost", "metadata", "expand",
        ),
    )  # fmt: skip
    params.required_text("mode")
    full = params.choice("mode", ("full", "partial")) == "full"
    flat, parts = params.integer("flat_amount"), _parts(params)
    if full and (flat is not None or parts):
        raise invalid("A full reversal takes no amounts.", param="mode")
    if not full and (flat is None) == (not parts):
        raise invalid(
            "A partial reversal takes either flat_amount or amounts of lines.", param="mode"
        )
    if flat is not None and flat >= 0:
        raise invalid("flat_amount must be below zero.", param="flat_amount")
    return Reverse(
        original=params.required_text("original_transaction"),
        reference=_reference(params),
        full=full,
        flat_amount=flat,
        parts=parts,
        metadata=params.metadata() or {},
        expand=params.expand(EXPAND),
    )


def create_reversal(scene: Scene, _: str, command: Reverse, __: Shapes) -> Outcome:
    """Take back all of a transaction, or a part of what is left of it."""
    original = _find(scene.books, command.original, "original_transaction", 400)
    _check_free(scene.books, command.reference)
    before = scene.books.tax.reversals_of(original.id)
    if any(one.full for one in before):
        raise invalid("It has been fully reversed already.", param="original_transaction")
    if original.original is not None and (original.full or not command.full):
        raise invalid(
            "Of reversals only a partial one can be reversed, and only in full.",
            param="original_transaction",
        )
    if not command.full and len(before) >= PARTIAL_REVERSALS_MAX:
        raise invalid(
            f"A transaction has at most {PARTIAL_REVERSALS_MAX} partial reversals.", param="mode"
        )
    left = _left(scene.books, original, before)
    if command.full:
        shares = [(line.amount, line.amount_tax) for line in original.all_lines]
    elif command.flat_amount is not None:
        shares = _shared_out(left, -command.flat_amount)
    else:
        shares = _of_parts(original, left, command.parts)
    return _made(scene, _reversal(scene, original, command, shares), command.expand)


def retrieve(scene: Scene, taxed_id: str, expand: tuple[str, ...], _: Shapes) -> Outcome:
    """Show a transaction."""
    shown = taxed_shape(_find(scene.books, taxed_id, "transaction", 404), expand)
    return Outcome(Change(time=scene.now), body=shown)


def list_lines(
    scene: Scene, taxed_id: str, command: tuple[int, str | None, tuple[str, ...]], _: Shapes
) -> Outcome:
    """Show a transaction's lines, in their order."""
    return page_of_lines(scene, _find(scene.books, taxed_id, "transaction", 404), command)


def ledger(books: Books) -> Json:
    """What was really reported, for tests; nothing of this is Stripe's."""
    return {
        "calculations": len(books.tax.calculations),
        "data": [
            {
                "id": one.id,
                "reference": one.reference,
                "calculation": one.calculation,
                "original": one.original,
                "currency": one.currency,
                "total": one.total,
                "tax": sum(line.amount_tax for line in one.all_lines),
                "metadata": one.metadata,
                "created": one.created,
            }
            for one in books.tax.transactions.values()
        ],
    }


def _made(scene: Scene, made: Taxed, expand: tuple[str, ...]) -> Outcome:
    return Outcome(Change(time=scene.now, taxed=[made]), body=taxed_shape(made, expand))


def _reversal(
    scene: Scene, original: Taxed, command: Reverse, shares: list[tuple[int, int]]
) -> Taxed:
    references = {part.line: part.reference for part in command.parts}
    taken = {
        line.id: replace(
            line,
            id=new_id("tax_li"),
            original=line.id,
            amount=-amount,
            amount_tax=-tax,
            reference=references.get(line.id, line.reference),
        )
        for line, (amount, tax) in zip(original.all_lines, shares, strict=True)
        if not command.parts or amount or tax or line.id in references
    }
    shipping = None if original.shipping is None else taken.pop(original.shipping.id, None)
    return Taxed(
        id=new_id("tax"),
        created=scene.now,
        currency=original.currency,
        reference=command.reference,
        lines=tuple(taken.values()),
        shipping=shipping,
        customer=original.customer,
        tax_date=original.tax_date,
        posted_at=scene.now,
        metadata=command.metadata,
        original=original.id,
        full=command.full,
        idempotency_key=scene.key,
    )


def _find(books: Books, taxed_id: str, param: str, status: int) -> Taxed:
    found = books.tax.transactions.get(taxed_id)
    if found is None:
        raise missing_resource("tax transaction", taxed_id[:100], param, status)
    return found


def _reference(params: Params) -> str:
    params.required_text("reference")
    return params.text("reference", characters_max=REFERENCE_CHARACTERS_MAX) or ""


def _check_free(books: Books, reference: str) -> None:
    if reference in books.tax.references:
        raise invalid(
            f"A tax transaction with reference {reference[:100]} already exists.",
            param="reference",
            code="resource_already_exists",
        )


def _parts(params: Params) -> tuple[Part, ...]:
    known = ("original_line_item", "reference", "amount", "amount_tax", "quantity", "metadata")
    found = [
        Part(
            line.required_text("original_line_item"),
            line.required_integer("amount"),
            line.required_integer("amount_tax"),
            line.required_text("reference"),
        )
        for line in params.hashes("line_items", known, LINES_MAX)
    ]
    shipping = params.within("shipping_cost", ("amount", "amount_tax"))
    if shipping is not None:
        amounts = shipping.required_integer("amount"), shipping.required_integer("amount_tax")
        found.append(Part(None, *amounts, "shipping"))
    if any(part.amount > 0 or part.amount_tax > 0 for part in found):
        raise invalid("Amounts of reversals must not be above zero.", param="line_items")
    return tuple(found)


def _left(books: Books, original: Taxed, before: list[Taxed]) -> list[TaxLine]:
    """The lines with what is left of them; a reversal that was undone took nothing."""
    left = {line.id: line for line in original.all_lines}
    for reversal in before:
        if not books.tax.reversals_of(reversal.id):
            for part in reversal.all_lines:
                line = left[part.original or ""]
                left[line.id] = replace(
                    line,
                    amount=line.amount + part.amount,
                    amount_tax=line.amount_tax + part.amount_tax,
                )
    return [left[line.id] for line in original.all_lines]


def _shared_out(left: list[TaxLine], amount: int) -> list[tuple[int, int]]:
    """A flat amount over what is left of each line, in proportion; each share with its tax."""
    total = sum(line.total for line in left)
    if amount > total:
        raise _too_much("flat_amount")
    shares, given, seen = [], 0, 0
    for line in left:
        seen += line.total
        share = amount * seen // total - given  # what is cut off goes to those that follow
        given += share
        tax = 0 if not line.total else (share * line.amount_tax * 2 + line.total) // (
            2 * line.total
        )  # fmt: skip
        shares.append((share - tax if line.tax_behavior == "exclusive" else share, tax))
    return shares


def _of_parts(
    original: Taxed, left: list[TaxLine], parts: tuple[Part, ...]
) -> list[tuple[int, int]]:
    shipping = None if original.shipping is None else original.shipping.id
    asked = {part.line or shipping: part for part in parts}
    if len(asked) < len(parts) or not asked.keys() <= {line.id for line in left}:
        raise missing_resource("line item", "of the reversal", "line_items", 400)
    shares = []
    for line in left:
        part = asked.get(line.id)
        amount, tax = (0, 0) if part is None else (-part.amount, -part.amount_tax)
        if amount > line.amount or tax > line.amount_tax:
            raise _too_much("line_items")
        shares.append((amount, tax))
    return shares


def _too_much(param: str) -> Refusal:
    return invalid("It reverses more than is left of the transaction.", param=param)
