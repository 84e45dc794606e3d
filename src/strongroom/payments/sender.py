"""Phase two for payments: calls gateways, with no transaction open, and hands on the answers."""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Final, Literal
from uuid import UUID

from msgspec.structs import replace

from strongroom.errors import InvariantBroken
from strongroom.gateways.accounts import Accounts
from strongroom.gateways.port import Account, Asking, Gateway, Prepared
from strongroom.ids import Prefix
from strongroom.payments.claims import Claimed
from strongroom.payments.engine import Engine
from strongroom.payments.states import (
    Answer,
    Answered,
    AtGateway,
    Attempt,
    Call,
    CancelObject,
    CaptureHold,
    Look,
    NotSent,
    Payment,
    Send,
    Unknown,
    Withheld,
)
from strongroom.work.calls import Calls


class Sender:
    """Does what is to be done at gateways for the payments that an engine claims."""

    prefix: Prefix = "pay"

    def __init__(
        self, engine: Engine, gateways: Mapping[str, Gateway], accounts: Accounts, calls: Calls
    ) -> None:
        self._engine = engine
        self._gateways = gateways
        self._accounts = accounts
        self._calls = calls

    def start(self) -> None:
        """Starts the engine's writers in the running loop."""
        self._engine.start()

    async def drain(self) -> None:
        """Waits until every answer that came is written."""
        await self._engine.drain()

    async def claim(self, most: int) -> Sequence[Claimed]:
        """Takes up to `most` due payments; raises what the database raises."""
        return await self._engine.claim(most)

    async def set_aside(self) -> Sequence[UUID]:
        """Leases the payment that is due first and does nothing for it; returns its id."""
        return await self._engine.set_aside()

    async def advance(self, claimed: Claimed, lease_ends: float) -> None:
        """Does what is to be done for one payment, as long as the lease allows another call."""
        payment, attempt = claimed.payment, claimed.attempt
        effect: object = claimed.effect
        account = await self._accounts.get(payment.legal_entity_id, attempt.gateway_account_id)
        gateway, first = self._gateways[attempt.gateway], claimed.fresh
        while isinstance(effect, AtGateway):
            if not self._calls.has_time(lease_ends):
                return
            if isinstance(effect, Send) and gateway.staged and attempt.gateway_object_id is None:
                prepared = await self._prepare(claimed, account, gateway)
                if prepared is None:
                    return
                attempt, first = prepared, True
                continue
            if isinstance(effect, Send) and self._calls.clock.now() >= payment.not_after:
                answered = self._too_late(attempt, claimed.tries, first=first)
            else:
                answered = await self._call(
                    effect, account, gateway, payment, attempt, claimed, first=first
                )
            first = False
            committed = await self._engine.settle(payment, answered, claimed.lease)
            payment, effect = committed.payment, committed.effect

    async def _prepare(
        self, claimed: Claimed, account: Account, gateway: Gateway
    ) -> Attempt | None:
        """The attempt with its committed object id, or None when it is not to be sent now."""
        attempt = claimed.attempt
        place = self._calls.lines.take(account, "prepare")
        answer: Prepared | Answer
        if isinstance(place, str):
            answer, call = Withheld(place, first=True), self._not_made("create", place)
        else:
            with place:
                answer, call = await self._calls.listen(
                    gateway.prepare(account, attempt), NotSent("no_answer"), "create"
                )
                place.answered(answer)
        if isinstance(answer, Prepared):
            if await self._engine.commit_object_id(claimed, answer.object_id, call):
                return replace(attempt, gateway_object_id=answer.object_id)
            answer = NotSent("not_wanted_any_more")
        await self._engine.settle(
            claimed.payment,
            Answered(attempt=attempt, answer=answer, call=call, asked="send", tries=claimed.tries),
            claimed.lease,
        )
        return None

    def _too_late(self, attempt: Attempt, tries: int, *, first: bool) -> Answered:
        """The time to send has passed while the gateway's object was made: nothing is sent."""
        call = self._not_made("send", "not_sent_in_time")
        answer = NotSent("not_sent_in_time")
        return Answered(
            attempt=attempt, answer=answer, call=call, asked="send", tries=tries, first=first
        )

    async def _call(
        self,
        effect: AtGateway,
        account: Account,
        gateway: Gateway,
        payment: Payment,
        attempt: Attempt,
        claimed: Claimed,
        *,
        first: bool,
    ) -> Answered:
        tries, lease, asked = claimed.tries, claimed.lease, _OPERATIONS[type(effect)]

        def answered(answer: Answer, call: Call) -> Answered:
            return Answered(
                attempt=attempt,
                answer=answer,
                call=call,
                asked=asked,
                tries=tries,
                capture_minor=payment.capture_minor,
                first=first and asked == "send",
            )

        def late(answer: Answer, call: Call) -> Awaitable[object]:
            return self._engine.settle(payment, answered(answer, call), lease)

        place = self._calls.lines.take(account, asked)
        if isinstance(place, str):
            return answered(Withheld(place, first=first), self._not_made(asked, place))
        with place:
            request = _ask(effect, account, gateway, payment, attempt)
            answer, call = await self._calls.listen(request, Unknown("no_answer"), asked, late)
            place.answered(answer)
        return answered(answer, call)

    def _not_made(self, operation: str, why: str) -> Call:
        """A call that was not made, for `explain`."""
        now = self._calls.clock.now()
        return Call(operation=operation, started_at=now, duration_ms=0.0, outcome=why)


_OPERATIONS: Final[Mapping[type[AtGateway], Literal["send", "look", "cancel", "capture"]]] = {
    Send: "send",
    Look: "look",
    CancelObject: "cancel",
    CaptureHold: "capture",
}


def _ask(
    effect: AtGateway, account: Account, gateway: Gateway, payment: Payment, attempt: Attempt
) -> Asking[Answer]:
    match effect:
        case Send():
            return gateway.send(account, attempt)
        case Look():
            return gateway.look(account, attempt)
        case CancelObject():
            return gateway.cancel(account, attempt)
        case CaptureHold():
            if payment.capture_minor is None:
                raise InvariantBroken("a capture without an amount")
            return gateway.capture(account, attempt, payment.capture_minor)
