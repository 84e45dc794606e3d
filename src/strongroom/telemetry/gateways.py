"""A gateway that is watched: the same answers, with each call counted, timed and traced."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

from strongroom.clock import monotonic_seconds
from strongroom.gateways.port import Account, Asking, Gateway, MerchantAccount, Prepared
from strongroom.payments.refunds import Refund, RefundAnswer
from strongroom.payments.states import Answer, Attempt, Call, Payment

Heard = TypeVar("Heard")

BROKEN_OFF: Final = "broken_off"
"""The answer's label when nobody listens any more, and when the adapter itself failed."""


class CallObserver(Protocol):
    """Hears of calls to gateways."""

    def watch(self, name: str, label: str, read: Callable[[], float]) -> None:
        """The gauge `name` of `label` is `read()` whenever somebody looks."""
        ...

    def call_ended(
        self,
        gateway: str,
        operation: str,
        key: str,
        heard: tuple[object, Call] | None,
        seconds: float,
    ) -> None:
        """A call is over; `heard` is None when it was broken off. `key` is the attempt's."""
        ...


class WatchedGateway:
    """Hands every call on to `gateway`, and tells `observer` of it."""

    def __init__(self, name: str, gateway: Gateway, observer: CallObserver) -> None:
        self._name = name
        self._gateway = gateway
        self._observer = observer
        self.staged, self.per_currency = gateway.staged, gateway.per_currency
        self._in_flight = 0
        observer.watch("strongroom_gateway_calls_in_flight", name, lambda: self._in_flight)

    def parameters(
        self, payment: Payment, merchant_account: MerchantAccount | None, *, saves: bool = False
    ) -> Mapping[str, Any]:
        """As the gateway's."""
        return self._gateway.parameters(payment, merchant_account, saves=saves)

    def prepare(self, account: Account, attempt: Attempt) -> Asking[Prepared | Answer]:
        """As the gateway's."""
        return self._watch(self._gateway.prepare(account, attempt), "prepare", attempt.gateway_key)

    def send(self, account: Account, attempt: Attempt) -> Asking[Answer]:
        """As the gateway's."""
        return self._watch(self._gateway.send(account, attempt), "send", attempt.gateway_key)

    def look(self, account: Account, attempt: Attempt) -> Asking[Answer]:
        """As the gateway's."""
        return self._watch(self._gateway.look(account, attempt), "look", attempt.gateway_key)

    def cancel(self, account: Account, attempt: Attempt) -> Asking[Answer]:
        """As the gateway's."""
        return self._watch(self._gateway.cancel(account, attempt), "cancel", attempt.gateway_key)

    def capture(self, account: Account, attempt: Attempt, amount_minor: int) -> Asking[Answer]:
        """As the gateway's."""
        asking = self._gateway.capture(account, attempt, amount_minor)
        return self._watch(asking, "capture", attempt.gateway_key)

    def refund_parameters(
        self, payment: Payment, attempt: Attempt, refund: Refund
    ) -> Mapping[str, Any]:
        """As the gateway's."""
        return self._gateway.refund_parameters(payment, attempt, refund)

    def refund(self, account: Account, refund: Refund) -> Asking[RefundAnswer]:
        """As the gateway's."""
        return self._watch(self._gateway.refund(account, refund), "refund", refund.gateway_key)

    def look_at_refund(self, account: Account, refund: Refund) -> Asking[RefundAnswer]:
        """As the gateway's."""
        asking = self._gateway.look_at_refund(account, refund)
        return self._watch(asking, "look_at_refund", refund.gateway_key)

    async def close(self) -> None:
        """As the gateway's."""
        await self._gateway.close()

    async def _watch(self, asking: Asking[Heard], operation: str, key: str) -> tuple[Heard, Call]:
        """Waits for the answer, also for one that comes after its deadline."""
        self._in_flight += 1
        started = monotonic_seconds()
        heard: tuple[Heard, Call] | None = None
        try:
            heard = await asking
            return heard
        finally:
            self._in_flight -= 1
            seconds = monotonic_seconds() - started
            self._observer.call_ended(self._name, operation, key, heard, seconds)
