"""How long, how named, how written: what a file of code must look like."""

import ast
import re
from collections.abc import Iterator
from typing import Final

from tests.tidy.source import Finding, Source

FILE_LINES_MAX: Final = 400
FUNCTION_LINES_MAX: Final = 70
LINE_COLUMNS_MAX: Final = 100

VAGUE: Final = frozenset("service manager helper util common base handler".split())
"""Words that say nothing of what is inside; their plurals neither."""

SPEAKS: Final = ("src/strongroom/cli.py", "src/strongroom/cli", "src/strongroom/local")
KNOWS_THE_TIME: Final = ("src/strongroom/clock.py", "src/strongroom/local")
CLOCK_CALLS: Final = frozenset(
    "datetime.now datetime.utcnow datetime.today date.today time.time time.time_ns".split()
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def file_length(source: Source) -> Iterator[Finding]:
    """A file that wants to be longer is two nouns."""
    if len(source.lines) > FILE_LINES_MAX:
        yield Finding(
            source.path,
            len(source.lines),
            f"{len(source.lines)} lines, at most {FILE_LINES_MAX}: find the second noun in it and "
            "give it a file",
        )


def function_length(source: Source) -> Iterator[Finding]:
    """A function that wants to be longer does two things."""
    for node in ast.walk(source.tree):
        if isinstance(node, Function):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield Finding(
                    source.path,
                    node.lineno,
                    f"{node.name} has {length} lines, at most {FUNCTION_LINES_MAX}: keep the "
                    "branching here and move the leaves out",
                )


def line_length(source: Source) -> Iterator[Finding]:
    """A line fits beside another."""
    for number, line in enumerate(source.lines, 1):
        if len(line) > LINE_COLUMNS_MAX:
            yield Finding(
                source.path, number, f"{len(line)} columns, at most {LINE_COLUMNS_MAX}: break it"
            )


def vague_names(source: Source) -> Iterator[Finding]:
    """Folders, modules and classes are called what they are."""
    advice = "says nothing of what is inside: name the noun"
    for part in source.parts:
        if word := _vague(part.removesuffix(".py")):
            yield Finding(source.path, 1, f"{word!r} in the path {advice}")
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and (word := _vague(node.name)):
            yield Finding(source.path, node.lineno, f"{word!r} in class {node.name} {advice}")


def asserts(source: Source) -> Iterator[Finding]:
    """`python -O` strips assert; an invariant of money has to hold there too."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Assert):
            yield Finding(
                source.path, node.lineno, "assert vanishes under -O: raise InvariantBroken instead"
            )


def swallowed_errors(source: Source) -> Iterator[Finding]:
    """Nothing catches everything and goes on as if nothing had happened."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            if node.type is None:
                yield Finding(
                    source.path, node.lineno, "bare except: name the errors that are expected"
                )
            elif _is_everything(node.type) and all(_does_nothing(line) for line in node.body):
                yield Finding(
                    source.path,
                    node.lineno,
                    "swallows every error: name the expected ones, and log or raise the rest",
                )
        elif (
            isinstance(node, ast.Call)
            and _dotted(node.func).split(".")[-1] == "suppress"
            and any(_is_everything(argument) for argument in node.args)
        ):
            yield Finding(
                source.path, node.lineno, "suppresses every error: name the expected ones"
            )


def prints(source: Source) -> Iterator[Finding]:
    """Only the command line speaks on stdout; everything else logs by the allow-list."""
    if source.below(*SPEAKS) or (
        source.below("src/strongroom_sandbox") and source.parts[-1] == "__main__.py"
    ):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and _dotted(node.func) == "print":
            yield Finding(
                source.path,
                node.lineno,
                "print goes around the log's allow-list: log it, or return it to the command line",
            )


def own_clocks(source: Source) -> Iterator[Finding]:
    """Time comes from strongroom.clock or as a parameter, so that a test's clock rules."""
    if source.below(*KNOWS_THE_TIME):
        return
    bare = {
        alias.asname or alias.name
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ImportFrom) and node.module == "time"
        for alias in node.names
        if f"time.{alias.name}" in CLOCK_CALLS
    }
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            name = _dotted(node.func)
            if ".".join(name.split(".")[-2:]) in CLOCK_CALLS or name in bare:
                yield Finding(
                    source.path,
                    node.lineno,
                    f"{name}() asks the machine's clock: take the moment or a Clock as a parameter",
                )


def module_docstrings(source: Source) -> Iterator[Finding]:
    """Each module says in a sentence what it is."""
    if source.text.strip() and ast.get_docstring(source.tree) is None:
        yield Finding(source.path, 1, "no docstring: say in a sentence what this module is")


def function_docstrings(source: Source) -> Iterator[Finding]:
    """Public functions and methods give shapes, units, errors raised."""
    for node in _public_functions(source.tree.body):
        if ast.get_docstring(node) is None:
            yield Finding(
                source.path,
                node.lineno,
                f"{node.name} is public and has no docstring: give shapes, units and the errors "
                "raised, or make it private",
            )


def _public_functions(body: list[ast.stmt]) -> Iterator[Function]:
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _public_functions(node.body)
        elif isinstance(node, Function) and not node.name.startswith("_"):
            marks = {_dotted(mark).split(".")[-1] for mark in node.decorator_list}
            if not marks & {"overload", "override", "setter", "deleter"}:
                yield node


def _vague(name: str) -> str | None:
    for found in re.finditer(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name):
        word = found[0].lower()
        if word in VAGUE or word.removesuffix("s") in VAGUE:
            return word
    return None


def _is_everything(node: ast.expr) -> bool:
    kinds = node.elts if isinstance(node, ast.Tuple) else [node]
    return any(_dotted(kind) in {"Exception", "BaseException"} for kind in kinds)


def _does_nothing(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Pass | ast.Continue)


def _dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{_dotted(value)}.{name}"
        case ast.Call(func=func):
            return _dotted(func)
        case _:
            return ""
