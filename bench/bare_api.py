"""`python -m bench.bare_api api --home HOME --port N`: the API without its vault, to compare with.

Texts are stored as they come, and nothing looks for card numbers. Everything else is the product's
own composition. That is not for sale: no setting of the product can do this.
"""

import sys
from functools import partial
from unittest.mock import patch

from bench.detector import Unguarded
from strongroom import app, cli
from strongroom.http.front_door import Scope
from strongroom.http.traffic import LOOKED, Traffic
from strongroom.payments.texts import TextStore
from strongroom.vault.keys import EntityKeys


class PlainTexts(TextStore):
    """Seals nothing and has no keys."""

    def __init__(self, pool: object, keyring: object, *, seals: bool) -> None:  # noqa: ARG002
        super().__init__(pool, keyring, seals=False)  # type: ignore[arg-type]

    def __setattr__(self, name: str, value: object) -> None:
        """It goes on sealing nothing, also where the product would begin to."""
        super().__setattr__(name, False if name == "seals" else value)

    def keys_at_hand(self, legal_entity_id: object) -> EntityKeys | None:  # noqa: ARG002
        """None, so that no digest is made either."""
        return None

    async def keys(self, legal_entity_id: object) -> EntityKeys:  # noqa: ARG002
        """None either; not even an error, which would cost the side that has nothing to pay for."""
        return None  # type: ignore[return-value]


def look(_traffic: Traffic, scope: Scope, _body: bytearray | None = None) -> None:
    """Looks at nothing, nor at whether there is something to look at."""
    scope[LOOKED] = None


if __name__ == "__main__":
    serve = partial(app.serve_api, guard=Unguarded())
    with (
        patch.object(app, "TextStore", PlainTexts),
        patch.object(app, "serve_api", serve),
        patch.object(Traffic, "look", look),
    ):
        sys.exit(cli.main())
