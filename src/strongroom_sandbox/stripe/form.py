"""Form-encoded parameters with brackets: ``a[b][c]=1`` and ``list[]=x`` or ``list[0]=x``."""

from urllib.parse import parse_qsl

from strongroom_sandbox.stripe.errors import Refusal, invalid

FIELDS_MAX = 1000
DEPTH_MAX = 6
NAME_CHARACTERS_MAX = 500

Tree = dict[str, "str | Tree"]


def pairs_of(text: str) -> list[tuple[str, str]]:
    """Split form-encoded text into (name, value) pairs. Raises Refusal when over FIELDS_MAX."""
    if not text:
        return []
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError:
        raise invalid("The parameters cannot be read as form-encoded UTF-8 text.") from None


def tree_of(pairs: list[tuple[str, str]]) -> Tree:
    """Nest pairs by their brackets; a list becomes a dict with the positions as keys.

    Raises Refusal for broken brackets, too deep a nesting and a name used as both value and hash.
    """
    tree: Tree = {}
    for name, value in pairs:
        if "\x00" in name or "\x00" in value:
            raise invalid("Parameters must not hold the NUL character.")
        if "[" not in name:
            if isinstance(tree.get(name), dict):
                raise _unreadable(name)
            tree[name] = value
            continue
        _put(tree, name, value)
    return tree


def _put(tree: Tree, name: str, value: str) -> None:
    head, _, rest = name.partition("[")
    if not head or not rest.endswith("]") or len(name) > NAME_CHARACTERS_MAX:
        raise _unreadable(name)
    steps = [head, *rest[:-1].split("][")]
    if len(steps) > DEPTH_MAX or any("[" in step or "]" in step for step in steps):
        raise _unreadable(name)
    here = tree
    for step in steps[:-1]:
        below = here.setdefault(step, {})
        if not isinstance(below, dict):
            raise _unreadable(name)
        here = below
    last = steps[-1] or str(len(here))
    if isinstance(here.get(last), dict):
        raise _unreadable(name)
    here[last] = value


def _unreadable(name: str) -> Refusal:
    return invalid(f"Invalid parameter name: {name[:NAME_CHARACTERS_MAX]}")
