"""The catalogue of problems: everything that a caller can be refused for, by its stable code.

This is the only place that gives a problem its status and its words. `errors.Problem` raises by
code; the OpenAPI, the reference page and docs/errors.md are made from it. Words in braces are
filled in where it is raised; `words` holds an example of each. Nothing of the request is echoed:
texts name fields and rules, never values.
"""

from typing import Final

from strongroom.problems.known import TITLES, Known
from strongroom.problems.requests import ALLOWED, FIELDS, PARAMETERS, READING
from strongroom.problems.states import FINDING, HERE, STATE
from strongroom.problems.webhooks import WEBHOOKS

__all__ = ["CATALOGUE", "TITLES", "Known"]

CATALOGUE: Final[dict[str, Known]] = (
    READING | ALLOWED | FINDING | STATE | FIELDS | PARAMETERS | HERE | WEBHOOKS
)
"""By code; in the order in which a request can meet them."""
