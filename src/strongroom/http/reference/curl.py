"""An example as a command line: what is shown is what is sent."""

import json
from typing import Any, Final
from urllib.parse import urlencode

from strongroom.http.reference.operation import Example, Operation
from strongroom.http.reference.shared import EXAMPLE_IDS

URL_VARIABLE: Final = "$STRONGROOM_URL"
KEY_VARIABLE: Final = "$STRONGROOM_KEY"
BODY_COLUMNS_MAX: Final = 70


def curl(operation: Operation, example: Example) -> str:
    """The lines of a shell, with the ids of the examples."""
    path = operation.path.format(**EXAMPLE_IDS)
    query = f"?{urlencode(example.query)}" if example.query else ""
    parts = [f'"{URL_VARIABLE}{path}{query}"']
    if operation.scope is not None:
        parts.append(f'-H "Authorization: Bearer {KEY_VARIABLE}"')
    if example.key is not None:
        parts.append(f'-H "Idempotency-Key: {example.key}"')
    if example.wait is not None:
        parts.append(f'-H "Prefer: wait={example.wait}"')
    if example.body is not None:
        parts.append('-H "Content-Type: application/json"')
        parts.append(f"-d '{written(example.body)}'".replace("\n", "\n  "))
    return "curl -sS " + " \\\n  ".join(parts)


def written(value: Any) -> str:
    """JSON as a person would write it: on one line where that is short. It holds no quote `'`."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) <= BODY_COLUMNS_MAX:
        return line
    return json.dumps(value, ensure_ascii=False, indent=2)
