"""Modules of the product with a call before each `await`, made as they are imported.

`await X` becomes `await at(place, X)`: X is evaluated, then somebody is asked what is to happen
here. `async with` asks before it enters and before it leaves, `async for` before each step. No file
is written, and nothing else about a module changes.
"""

import ast
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any, Final

PACKAGE: Final = "strongroom"
_AT: Final = "_at_an_await"
_EACH: Final = "_at_each_step"

Asked = Callable[[str], None]

_ask: list[Asked] = []


def ask(asked: Asked) -> None:
    """From now on `asked` is called with the place of each await, before it."""
    _ask[:] = [asked]


def at_an_await(place: str, awaited: Any = None) -> Any:
    """What is awaited, once whoever listens was asked."""
    if _ask:
        _ask[0](place)
    return awaited


async def at_each_step(place: str, steps: Any) -> AsyncIterator[Any]:
    """The same for what is iterated over."""
    async for step in steps:
        at_an_await(place)
        yield step


class _Marks(ast.NodeTransformer):
    """Puts the calls in."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._scope: list[str] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._inside(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._inside(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._inside(node)

    def visit_Await(self, node: ast.Await) -> ast.AST:
        self.generic_visit(node)
        node.value = self._call(_AT, node, node.value)
        return node

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        self.generic_visit(node)
        for item in node.items:
            item.context_expr = self._call(_AT, node, item.context_expr)
        leaving = ast.Expr(self._call(_AT, node, None, " (leaving)"))
        whole = ast.Try(body=node.body, handlers=[], orelse=[], finalbody=[leaving])
        node.body = [ast.copy_location(whole, node)]
        return ast.fix_missing_locations(node)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:
        self.generic_visit(node)
        node.iter = self._call(_EACH, node, node.iter)
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        self.generic_visit(node)
        if node.is_async:
            node.iter = self._call(_EACH, node.iter, node.iter)
        return node

    def _inside(self, node: Any) -> ast.AST:
        self._scope.append(node.name)
        self.generic_visit(node)
        self._scope.pop()
        return node  # type: ignore[no-any-return]

    def _call(self, name: str, at: Any, of: ast.expr | None, how: str = "") -> ast.Call:
        place = f"{self._module}:{'.'.join(self._scope)}:{at.lineno}{how}"
        given: list[ast.expr] = [ast.Constant(place), *([] if of is None else [of])]
        call = ast.Call(ast.Name(name, ast.Load()), given, [])
        return ast.fix_missing_locations(ast.copy_location(call, at))


class _Loader(SourceFileLoader):
    """Compiles from the source each time, and keeps nothing."""

    def source_to_code(  # type: ignore[override]
        self, data: Any, path: Any, *, _optimize: int = -1
    ) -> CodeType:
        """As always, with the marks put in."""
        tree = ast.parse(data, path)
        marked = ast.fix_missing_locations(_Marks(self.name).visit(tree))
        return compile(marked, path, "exec", dont_inherit=True, optimize=_optimize)

    def path_stats(self, path: Any) -> Any:
        raise OSError("not from a cache")

    def exec_module(self, module: ModuleType) -> None:
        setattr(module, _AT, at_an_await)
        setattr(module, _EACH, at_each_step)
        super().exec_module(module)


class _Finder(MetaPathFinder):
    """Finds modules of the product as always, and has them loaded by us."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != PACKAGE and not name.startswith(PACKAGE + "."):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def mark() -> None:
    """Modules that are imported from now on ask."""
    if loaded := [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
        raise RuntimeError(f"imported already, so without marks: {loaded[0]}")
    sys.meta_path.insert(0, _Finder())
