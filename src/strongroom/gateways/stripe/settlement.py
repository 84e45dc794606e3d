"""Disputes and payouts at Stripe: what the account shows of them, and what of ours they are."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, get_args

import stripe
from stripe import StripeClient, StripeError

from strongroom.clock import Clock
from strongroom.config import Mode
from strongroom.gateways.port import Account, Credentials
from strongroom.gateways.stripe.connections import Ask, Connections
from strongroom.gateways.stripe.errors import code_of, unanswered
from strongroom.gateways.stripe.metadata import attempt_no_of, payment_id_of
from strongroom.gateways.stripe.money import from_stripe
from strongroom.gateways.stripe.payouts import Found, fetch_payout, read_payout
from strongroom.payments.states import Call, NotSent, Unknown
from strongroom.settlement.disputes import DisputeStatus, Seen
from strongroom.settlement.port import (
    DisputeLook,
    ListAnswer,
    Listed,
    NoSuchObject,
    NotTaken,
    PayoutLook,
    Told,
)

PAGE_SIZE: Final = 100
PAGES_MAX: Final = 50
"""More than this of one list are not looked through at once: the list is asked for again."""
REASON_CHARACTERS_MAX: Final = 100
INTENT: Final = ("payment_intent",)
"""What is expanded: its metadata names our payment."""
_STATUSES: Final[frozenset[str]] = frozenset(get_args(DisputeStatus))


class StripeSettlement:
    """One adapter for all of a process's Stripe accounts."""

    def __init__(self, clock: Clock, credentials: Credentials, *, mode: Mode) -> None:
        self._connections = Connections(clock, credentials, mode)

    async def look_at_dispute(self, account: Account, object_id: str) -> tuple[DisputeLook, Call]:
        """Retrieves the Dispute with its PaymentIntent, whose metadata names our payment."""
        ask: Ask[stripe.Dispute, DisputeLook] = Ask(
            "retrieve_dispute",
            lambda client: client.v1.disputes.retrieve_async(object_id, {"expand": [*INTENT]}),
            lambda found: read_dispute(found, object_id),
            _read_error,
        )
        answer, call, _ = await self._connections.ask(account, ask)
        return answer, call

    async def give_evidence(
        self, account: Account, object_id: str, texts: Mapping[str, str], key: str, *, submit: bool
    ) -> tuple[Told, Call]:
        """Updates the Dispute. Stripe submits unless it is told not to, so it always is."""
        asked: Any = {"evidence": dict(texts), "submit": submit, "expand": [*INTENT]}
        return await self._tell(
            "submit_evidence" if submit else "stage_evidence",
            account,
            object_id,
            lambda client: client.v1.disputes.update_async(object_id, asked, self._own(key)),
        )

    async def give_in(self, account: Account, object_id: str, key: str) -> tuple[Told, Call]:
        """Closes the Dispute, which is lost then."""
        return await self._tell(
            "close_dispute",
            account,
            object_id,
            lambda client: client.v1.disputes.close_async(
                object_id, {"expand": [*INTENT]}, self._own(key)
            ),
        )

    def _own(self, key: str) -> stripe.RequestOptions:
        """Each send follows a look that shows it undone, and a dispute takes it once: a 500 that is
        stored under one key would be repeated for a day, past the bank's deadline.
        """
        return {"idempotency_key": f"{key}_{self._connections.moment()}"}

    async def _tell(
        self,
        operation: str,
        account: Account,
        object_id: str,
        request: Callable[[StripeClient], Awaitable[stripe.Dispute]],
    ) -> tuple[Told, Call]:
        def read(found: stripe.Dispute) -> Told:
            seen = read_dispute(found, object_id)
            return Unknown("another_object") if isinstance(seen, NoSuchObject) else seen

        answer, call, _ = await self._connections.ask(
            account, Ask(operation, request, read, _not_taken)
        )
        return answer, call

    async def list_disputes(
        self, account: Account, since: datetime | None
    ) -> tuple[ListAnswer, Call]:
        """The ids of all Disputes that were created since then."""
        return await self._list(
            "list_disputes",
            account,
            since,
            lambda client, asked: client.v1.disputes.list_async(asked),  # type: ignore[arg-type]
        )

    async def look_at_payout(
        self, account: Account, object_id: str, known: Sequence[str]
    ) -> tuple[PayoutLook, Call]:
        """Retrieves the Payout and, where Stripe tells of them, its balance transactions."""
        del known
        ask: Ask[Found, PayoutLook] = Ask(
            "retrieve_payout",
            lambda client: fetch_payout(client, object_id),
            lambda found: read_payout(found, object_id),
            _read_error,
        )
        answer, call, _ = await self._connections.ask(account, ask)
        return answer, call

    async def list_payouts(
        self, account: Account, since: datetime | None
    ) -> tuple[ListAnswer, Call]:
        """The ids of all Payouts that were created since then."""
        return await self._list(
            "list_payouts",
            account,
            since,
            lambda client, asked: client.v1.payouts.list_async(asked),  # type: ignore[arg-type]
        )

    async def _list(
        self,
        operation: str,
        account: Account,
        since: datetime | None,
        page_of: Callable[[StripeClient, dict[str, Any]], Awaitable[Any]],
    ) -> tuple[ListAnswer, Call]:
        asked: dict[str, Any] = {"limit": PAGE_SIZE}
        if since is not None:
            asked["created"] = {"gte": int(since.timestamp())}

        async def all_of_them(client: StripeClient) -> list[str] | None:
            seen: list[str] = []
            for _ in range(PAGES_MAX):
                page = await page_of(client, asked)
                seen += [one.id for one in page.data]
                if not page.has_more:
                    return seen
                asked["starting_after"] = page.data[-1].id
            return None

        def read(seen: list[str] | None) -> ListAnswer:
            return Unknown("too_many") if seen is None else Listed(tuple(seen))

        answer, call, _ = await self._connections.ask(
            account, Ask(operation, all_of_them, read, _no_list)
        )
        return answer, call

    async def close(self) -> None:
        """Closes the connections to Stripe."""
        await self._connections.close()


def read_dispute(found: stripe.Dispute, object_id: str) -> DisputeLook:
    """What a Dispute shows, in our words; Unknown for what we have no word for."""
    status: Any = found.status
    if found.id != object_id:
        return Unknown("another_object")
    if status not in _STATUSES:
        return Unknown("unexpected_status")
    currency, details = found.currency.upper(), found.evidence_details
    intent: Any = found.payment_intent
    metadata = getattr(intent, "metadata", None)
    due_by = getattr(details, "due_by", None)
    return Seen(
        object_id=found.id,
        intent_id=getattr(intent, "id", None),
        payment_id=payment_id_of(metadata),
        attempt_no=attempt_no_of(metadata),
        status=status,
        amount_minor=from_stripe(found.amount, currency),
        currency=currency,
        reason=str(found.reason)[:REASON_CHARACTERS_MAX],
        evidence_due_by=None if due_by is None else datetime.fromtimestamp(due_by, UTC),
        has_evidence=bool(details.has_evidence),
        submissions=details.submission_count,
        opened_at=datetime.fromtimestamp(found.created, UTC),
    )


def _read_error(error: StripeError) -> tuple[NoSuchObject | NotSent | Unknown, None]:
    """What an error of the SDK says about a look."""
    unknown = unanswered(error)
    if unknown is not None:
        return unknown, None
    code = getattr(error.error, "code", None) or error.code
    return (NoSuchObject() if code == "resource_missing" else Unknown("gateway_error")), None


def _not_taken(error: StripeError) -> tuple[Told, None]:
    """What an error of the SDK says about an answer to a dispute."""
    return unanswered(error) or NotTaken(code_of(error)), None


def _no_list(error: StripeError) -> tuple[ListAnswer, None]:
    return unanswered(error) or Unknown("gateway_error"), None
