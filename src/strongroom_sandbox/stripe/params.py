"""Reading parameters the way Stripe checks them: unknown, missing and ill-formed ones refused."""

from collections.abc import Collection
from urllib.parse import urlsplit

from strongroom_sandbox.stripe.errors import Refusal, invalid
from strongroom_sandbox.stripe.form import Tree

METADATA_KEYS_MAX = 50
METADATA_KEY_CHARACTERS_MAX = 40
METADATA_VALUE_CHARACTERS_MAX = 500
EXPAND_MAX = 20
PATH_CHARACTERS_MAX = 100
TEXT_CHARACTERS_MAX = 5000
INTEGER_DIGITS_MAX = 18
LIST_LIMIT_DEFAULT = 10
TYPES = "allowed_payment_method_types"
FORMER_TYPES = "payment_method_types"
"""What TYPES has replaced, as a parameter (docs.stripe.com/changelog/endive/2026-09-30)."""
LIST_LIMIT_MAX = 100


def merged_metadata(held: dict[str, str], given: dict[str, str]) -> dict[str, str]:
    """Merge metadata: given keys win, an empty value removes its key, no keys at all clears."""
    if not given:
        return {}
    return {key: value for key, value in (held | given).items() if value != ""}


class Params:
    """The parameters of one request, or of one hash inside it (then ``path`` names the hash)."""

    def __init__(
        self,
        tree: Tree,
        known: Collection[str],
        unsupported: Collection[str] = (),
        path: str = "",
    ) -> None:
        self._tree = tree
        self._path = path
        for name in tree:
            if name in unsupported:
                # Stripe knows it and this server does not: an ignored parameter would be a lie.
                shown = self.name_of(name)
                raise invalid(f"This stand-in does not act on the parameter: {shown}", param=shown)
            if name == FORMER_TYPES:
                raise invalid(
                    f"{name} is no longer supported.",
                    param=name,
                    code=f"{name}_no_longer_supported",
                )
            if name not in known:
                shown = self.name_of(name)
                raise invalid(
                    f"Received unknown parameter: {shown}", param=shown, code="parameter_unknown"
                )

    def __contains__(self, name: str) -> bool:
        return name in self._tree

    def name_of(self, name: str) -> str:
        """Return a parameter's full name, with the hashes it stands in."""
        return f"{self._path}[{name}]" if self._path else name

    def text(self, name: str, *, characters_max: int = TEXT_CHARACTERS_MAX) -> str | None:
        """Return a text, or None when absent or empty (an empty value unsets)."""
        value = self._tree.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise invalid(f"Invalid string: {self.name_of(name)}", param=self.name_of(name))
        if len(value) > characters_max:
            raise invalid(
                f"Invalid {self.name_of(name)}: at most {characters_max} characters are allowed",
                param=self.name_of(name),
                code="parameter_invalid_string_length",
            )
        return value

    def required_text(self, name: str) -> str:
        """Return a text. Raises Refusal ``parameter_missing`` or ``parameter_invalid_empty``."""
        self._require(name)
        value = self.text(name)
        if value is None:
            raise self._empty(name)
        return value

    def integer(self, name: str) -> int | None:
        """Return an integer or None. Raises Refusal ``parameter_invalid_integer``."""
        value = self._tree.get(name)
        if value is None:
            return None
        digits = value.removeprefix("-") if isinstance(value, str) else ""
        if value == "":
            raise self._empty(name)
        if not (digits.isascii() and digits.isdigit() and len(digits) <= INTEGER_DIGITS_MAX):
            raise invalid(
                f"Invalid integer: {value if isinstance(value, str) else name}",
                param=self.name_of(name),
                code="parameter_invalid_integer",
            )
        return -int(digits) if str(value).startswith("-") else int(digits)

    def required_integer(self, name: str) -> int:
        """Return an integer. Raises Refusal as ``integer`` does, or ``parameter_missing``."""
        self._require(name)
        value = self.integer(name)
        return 0 if value is None else value

    def boolean(self, name: str) -> bool | None:
        """Return a truth value or None."""
        value = self._tree.get(name)
        if value is None or value == "":
            return None
        if value not in ("true", "false"):
            raise invalid(
                f"Invalid boolean: {value if isinstance(value, str) else name}",
                param=self.name_of(name),
            )
        return value == "true"

    def choice(self, name: str, allowed: Collection[str]) -> str | None:
        """Return one of the allowed words, or None."""
        value = self.text(name)
        if value is not None and value not in allowed:
            raise invalid(
                f"Invalid {self.name_of(name)}: must be one of {', '.join(sorted(allowed))}",
                param=self.name_of(name),
            )
        return value

    def url(self, name: str) -> str | None:
        """Return an absolute http or https URL, or None. Raises Refusal ``url_invalid``."""
        value = self.text(name)
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            fine = False
        if not fine or not value.isprintable() or " " in value or not value.isascii():
            raise invalid("Not a valid URL", param=self.name_of(name), code="url_invalid")
        return value

    def words(self, name: str, count_max: int = EXPAND_MAX) -> tuple[str, ...]:
        """Return a list of texts; empty when absent."""
        value = self._tree.get(name)
        if value is None or value == "":
            return ()
        if not isinstance(value, dict) or len(value) > count_max:
            raise invalid(f"Invalid array: {self.name_of(name)}", param=self.name_of(name))
        items = []
        for item in value.values():
            if not isinstance(item, str):
                raise invalid(f"Invalid array: {self.name_of(name)}", param=self.name_of(name))
            items.append(item)
        return tuple(items)

    def within(
        self, name: str, known: Collection[str], unsupported: Collection[str] = ()
    ) -> "Params | None":
        """Return the hash of that name, or None. Raises Refusal when it is no hash."""
        value = self._tree.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, dict):
            raise invalid(f"Invalid object: {self.name_of(name)}", param=self.name_of(name))
        return Params(value, known, unsupported, self.name_of(name))

    def hashes(self, name: str, known: Collection[str], count_max: int) -> "list[Params]":
        """Return a list of hashes; empty when absent. Raises Refusal when it is none."""
        value = self._tree.get(name)
        if value is None or value == "":
            return []
        path = self.name_of(name)
        if not isinstance(value, dict) or len(value) > count_max:
            raise invalid(f"Invalid array: {path}, of at most {count_max}", param=path)
        found = []
        for place, item in enumerate(value.values()):
            if not isinstance(item, dict):
                raise invalid(f"Invalid object: {path}[{place}]", param=f"{path}[{place}]")
            found.append(Params(item, known, (), f"{path}[{place}]"))
        return found

    def metadata(self) -> dict[str, str] | None:
        """Return the metadata given; an empty value unsets its key; None when none is given.

        Limits: docs.stripe.com/api/metadata.
        """
        value = self._tree.get("metadata")
        if value is None:
            return None
        if value == "":
            return {}
        if not isinstance(value, dict):
            raise invalid("Invalid object: metadata", param="metadata")
        found: dict[str, str] = {}
        for key, text in value.items():
            if not isinstance(text, str):
                raise invalid("Metadata values must be texts", param=f"metadata[{key}]")
            if len(key) > METADATA_KEY_CHARACTERS_MAX or len(text) > METADATA_VALUE_CHARACTERS_MAX:
                raise invalid("A metadata key or value is too long", param=f"metadata[{key}]")
            found[key] = text
        if len(found) > METADATA_KEYS_MAX:
            raise invalid(f"At most {METADATA_KEYS_MAX} metadata keys", param="metadata")
        return found

    def expand(self, allowed: Collection[str], prefix: str = "") -> tuple[str, ...]:
        """Return the paths to expand, without ``prefix`` (``data.`` in lists).

        Raises Refusal (400) for one that is not allowed.
        """
        paths = self.words("expand")
        for path in paths:
            if not path.startswith(prefix) or path.removeprefix(prefix) not in allowed:
                raise invalid(
                    f"This property cannot be expanded ({path[:PATH_CHARACTERS_MAX]}).",
                    param="expand",
                )
        return tuple(path.removeprefix(prefix) for path in paths)

    def limit(self) -> int:
        """Return the page size, from 1 to LIST_LIMIT_MAX."""
        limit = self.integer("limit")
        if limit is None:
            return LIST_LIMIT_DEFAULT
        if not 1 <= limit <= LIST_LIMIT_MAX:
            raise invalid(f"The limit must be from 1 to {LIST_LIMIT_MAX}", param="limit")
        return limit

    def created(self) -> tuple[int | None, int | None]:
        """Return the bounds (from, to) of the ``created`` filter, both inclusive Unix seconds."""
        if not isinstance(self._tree.get("created"), dict):
            moment = self.integer("created")
            return moment, moment
        bounds = self.within("created", ("gt", "gte", "lt", "lte"))
        if bounds is None:
            return None, None
        over, least = bounds.integer("gt"), bounds.integer("gte")
        under, most = bounds.integer("lt"), bounds.integer("lte")
        lows = [low for low in (None if over is None else over + 1, least) if low is not None]
        highs = [high for high in (None if under is None else under - 1, most) if high is not None]
        return max(lows, default=None), min(highs, default=None)

    def _require(self, name: str) -> None:
        if name not in self._tree:
            raise invalid(
                f"Missing required param: {self.name_of(name)}.",
                param=self.name_of(name),
                code="parameter_missing",
            )

    def _empty(self, name: str) -> Refusal:
        return invalid(
            f"The parameter {self.name_of(name)} cannot be unset: give it a value or leave it out.",
            param=self.name_of(name),
            code="parameter_invalid_empty",
        )
