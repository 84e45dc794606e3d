"""The flows of money: what a caller, a customer and a provider do in each, and what runs for it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.faults.points.trial import Trial

FIRST_SECONDS: Final = 0.4
"""Of the 0.8 that a gateway has: a webhook is here before its answer."""
TOKENS: Final = {"stripe": "pm_card_visa", "braintree": "fake-valid-visa-nonce"}
DECLINED: Final = {
    "stripe": "pm_decline_processing_error", "braintree": "fake-processor-declined-visa-nonce",
}  # fmt: skip
"""By gateway, what it declines and another may take."""
CONSENT: Final = {
    "given_at": "2026-10-01T09:30:00Z", "text_version": "terms-2026-10",
    "ip_address": "192.0.2.17", "user_agent": "Mozilla/5.0 (X11; Linux)",
}  # fmt: skip
Play = Callable[["Trial"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Flow:
    """One flow at one gateway."""

    name: str
    gateway: str
    play: Play
    parts: frozenset[str]
    hears: bool = False
    """Whether the gateway's webhooks reach us."""
    ends: frozenset[str] = frozenset({"succeeded"})
    """Where its payments may stand at the end."""
    token: str | None = None
    elsewhere: str | None = None
    """The gateway that takes what the first one declines."""
    loses: str | None = None
    """How a place of the provider's ends whose first answer is lost, whatever else goes wrong."""
    holds: tuple[str, float] | None = None
    """How a path of the provider's ends whose answers are held back, and for how many seconds."""
    frozen: frozenset[str] = frozenset()
    """Why a payment or a refund may wait for a person at the end, the provider having nothing."""
    leaps: bool = False
    """Whether clocks leap while a call is under way: then the provider may have what waits so."""
    endings_when_late: frozenset[str] = frozenset({"canceled", "failed"})
    """Where they may stand when a fault took so much time that nothing was sent."""

    @property
    def ends_without_jobs(self) -> bool:
        """Braintree's card transactions are looked at until they are settled, days later."""
        return "braintree" not in self.gateways

    @property
    def gateways(self) -> tuple[str, ...]:
        """Where it may be charged, the first one first."""
        return (self.gateway,) if self.elsewhere is None else (self.gateway, self.elsewhere)

    @property
    def title(self) -> str:
        """What it is called, in one word."""
        return f"{self.name}@{self.gateway}"

    def instrument(self) -> dict[str, Any]:
        """What a payment of this flow is paid with."""
        first = {"gateway": self.gateway, "token": self.token or TOKENS[self.gateway]}
        others = [{"gateway": one, "token": TOKENS[one]} for one in self.gateways[1:]]
        return first | ({"alternatives": others} if others else {})


async def sale(trial: "Trial") -> None:
    """One payment, captured at once."""
    await trial.pay()
    await trial.until_status("succeeded", "canceled", "failed")


async def held(trial: "Trial") -> str:
    """A payment that is authorized, or is over because nothing could be sent in time."""
    payment = await trial.pay(capture="manual")
    await trial.until_status("authorized", "canceled", "failed")
    return payment


async def capture(trial: "Trial") -> None:
    """Authorized, then captured whole."""
    payment = await held(trial)
    await trial.ask(f"/v1/payments/{payment}/capture", {}, "capture")


async def part(trial: "Trial") -> None:
    """Authorized, then captured in part; the rest is released."""
    payment = await held(trial)
    await trial.ask(f"/v1/payments/{payment}/capture", {"amount": 700}, "capture")


async def cancel(trial: "Trial") -> None:
    """Authorized, then canceled."""
    payment = await held(trial)
    await trial.ask(f"/v1/payments/{payment}/cancel", {}, "cancel")


async def cancel_at_once(trial: "Trial") -> None:
    """Canceled while it may be on its way: it ends as one or the other, and never both."""
    payment = await trial.pay()
    await trial.ask(f"/v1/payments/{payment}/cancel", {}, "cancel")


async def refund(trial: "Trial") -> None:
    """Captured, then given back in two parts."""
    payment = await trial.pay()
    if await trial.until_status("succeeded", "canceled", "failed") == "succeeded":
        if trial.flow.gateway == "braintree":
            await trial.settle_there(payment)
        await trial.refund(payment, 700, "first")
        await trial.until_quiet()
        await trial.refund(payment, 1299, "second")


async def three_d_secure(trial: "Trial") -> None:
    """The customer is asked, and answers; then comes back."""
    payment = await trial.pay()
    if await trial.until_status("requires_action", "canceled", "failed") == "requires_action":
        await trial.complete_action()
        await trial.ask(f"/v1/payments/{payment}/confirm", {})


async def declined(trial: "Trial") -> None:
    """The bank says no."""
    await trial.pay()


async def off_session(trial: "Trial") -> None:
    """A card is saved, its customer having agreed; then charged while the customer is away."""
    _, customer = await trial.ask("/v1/customers", {"name": "Ada"}, "customer")
    body = {"instrument": trial.flow.instrument(), "consent": CONSENT}
    path = f"/v1/customers/{customer['id']}/payment_methods"
    _, method = await trial.ask(path, body, "method")
    await trial.until_card_is_saved()
    payment = await trial.pay(instrument=None)
    wish = {"payment_method": method["id"], "off_session": True}
    await trial.ask(f"/v1/payments/{payment}/confirm", wish, "confirm")


PAYING: Final = frozenset({"payments"})
OVER: Final = frozenset({"canceled", "failed"})


def _flows() -> tuple[Flow, ...]:
    both = ("stripe", "braintree")
    found = [Flow("sale", one, sale, PAYING) for one in both]
    found += [Flow("capture", one, capture, PAYING) for one in both]
    found += [Flow("part", one, part, PAYING) for one in both]
    found += [Flow("cancel", one, cancel, PAYING, ends=OVER) for one in both]
    found += [
        Flow(
            "cancel-at-once",
            one,
            cancel_at_once,
            PAYING,
            ends=OVER | {"succeeded"},
            # What may have been sent, and is not wanted any more, is not sent again to find out.
            frozen=frozenset({"not_found_at_gateway"} if one == "braintree" else ()),
        )
        for one in both
    ]
    found += [Flow("refund", one, refund, PAYING | {"refunds"}) for one in both]
    found.append(
        Flow("3ds", "stripe", three_d_secure, PAYING, token="pm_card_threeDSecure2Required")
    )
    found.append(
        Flow("declined", "stripe", declined, PAYING, ends=OVER, token="pm_card_chargeDeclined")
    )
    found += [
        Flow("failover", one, sale, PAYING, token=DECLINED[one], elsewhere=other)
        for one, other in (both, both[::-1])
    ]
    found += _with_webhooks()
    found.append(Flow("resolver", "stripe", sale, PAYING, loses="/confirm"))
    found.append(Flow("resolver", "braintree", sale, PAYING, loses="/transactions"))
    found += [Flow("off-session", one, off_session, PAYING | {"saving"}) for one in both]
    found.append(Flow("log", "stripe", sale, PAYING | {"sequencer", "signer"}))
    return tuple(found)


def _with_webhooks() -> list[Flow]:
    """The gateway's webhook comes when we know already, or while its answer is on its way."""
    hearing = PAYING | {"webhooks"}
    first = ("/confirm", FIRST_SECONDS)
    return [
        Flow("webhook-last", "stripe", sale, hearing, hears=True),
        Flow("webhook-first", "stripe", sale, hearing, hears=True, holds=first),
        Flow("webhook-out", "stripe", sale, PAYING | {"sequencer", "deliverer"}),
    ]


FLOWS: Final = {flow.title: flow for flow in _flows()}
