"""What Stripe's card fields made: which card a PaymentMethod stands for."""

from typing import Any, Final

from stripe import PaymentMethod, StripeError

from strongroom.clock import Clock
from strongroom.config import Mode
from strongroom.gateways.fields import UNNAMED, CardSeen
from strongroom.gateways.port import Account, Credentials
from strongroom.gateways.stripe.connections import Ask, Connections
from strongroom.gateways.stripe.errors import code_of, unanswered
from strongroom.payments.states import Call, NotSent, Unknown

NO_SUCH_METHOD: Final = "resource_missing"


class StripeFields:
    """For all of a process's Stripe accounts."""

    def __init__(self, clock: Clock, credentials: Credentials, *, mode: Mode) -> None:
        self._connections = Connections(clock, credentials, mode)

    async def card_of(
        self, account: Account, token: str
    ) -> tuple[CardSeen | NotSent | Unknown, Call]:
        """The card's fingerprint (docs.stripe.com/api/payment_methods/object)."""
        answer, call, _ = await self._connections.ask(
            account,
            Ask(
                "retrieve_method",
                lambda client: client.v1.payment_methods.retrieve_async(token),
                _seen,
                _not_seen,
            ),
        )
        return answer, call

    async def close(self) -> None:
        """Closes the connections to Stripe."""
        await self._connections.close()


def _seen(found: PaymentMethod) -> CardSeen | NotSent:
    mark: Any = getattr(getattr(found, "card", None), "fingerprint", None)
    is_named = found.type == "card" and isinstance(mark, str) and mark
    return CardSeen(mark) if is_named else NotSent(UNNAMED)


def _not_seen(error: StripeError) -> tuple[CardSeen | NotSent | Unknown, None]:
    """A token that Stripe does not know is no card, and paying with it is refused there."""
    unknown = unanswered(error)
    if unknown is None and code_of(error) == NO_SUCH_METHOD:
        return CardSeen(None), None
    return unknown or Unknown(code_of(error)), None
