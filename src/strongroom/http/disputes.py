"""The operations on disputes."""

import os
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from strongroom.access.api_keys import ApiKeys, Credential
from strongroom.clock import Clock, microseconds_since_epoch
from strongroom.errors import Missing
from strongroom.http import bodies, fields
from strongroom.http.asking import answer, authorise, payment_id_of
from strongroom.http.exchange import Asked, Reply, json_reply
from strongroom.http.listing import LIMIT_DEFAULT, Limit, read_page
from strongroom.ids import MalformedId, from_text, new_id, to_text
from strongroom.payments.idempotency import fingerprint, gateway_key_seed
from strongroom.payments.texts import TextStore
from strongroom.settlement.answers import SALT_BYTES, AnswerKind, AnswerStatus, seal_evidence
from strongroom.settlement.asking import AnswerWish, ask_answer
from strongroom.settlement.disputes import DisputeStatus
from strongroom.settlement.rows import Shown, list_disputes, read_disputes

PATH: Final = "/v1/disputes"


class Evidence(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Texts by the gateway's names of them (docs.stripe.com/api/disputes/update)."""

    access_activity_log: fields.EvidenceText | None = None
    billing_address: fields.EvidenceText | None = None
    cancellation_policy_disclosure: fields.EvidenceText | None = None
    cancellation_rebuttal: fields.EvidenceText | None = None
    customer_email_address: fields.EvidenceText | None = None
    customer_name: fields.EvidenceText | None = None
    customer_purchase_ip: fields.EvidenceText | None = None
    duplicate_charge_explanation: fields.EvidenceText | None = None
    duplicate_charge_id: fields.EvidenceText | None = None
    product_description: fields.EvidenceText | None = None
    refund_policy_disclosure: fields.EvidenceText | None = None
    refund_refusal_explanation: fields.EvidenceText | None = None
    service_date: fields.EvidenceText | None = None
    shipping_address: fields.EvidenceText | None = None
    shipping_carrier: fields.EvidenceText | None = None
    shipping_date: fields.EvidenceText | None = None
    shipping_tracking_number: fields.EvidenceText | None = None
    uncategorized_text: fields.EvidenceText | None = None


class GiveEvidence(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Evidence for the bank."""

    evidence: Annotated[
        Evidence, Meta(description="Without any, what was staged before is all there is.")
    ] = Evidence()
    submit: Annotated[
        bool,
        Meta(
            description="Submit it to the bank, with all that was staged before: once, for good. "
            "Without it, it is only staged."
        ),
    ] = False


class AcceptDispute(Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing is to be said: the dispute is given up, for good."""


class AnswerView(Struct, frozen=True, kw_only=True):
    """What the bank was told last, and what became of it. Its texts are not shown."""

    kind: Annotated[AnswerKind, Meta(description="Evidence, or that it is given up.")]
    submit: Annotated[bool, Meta(description="Whether the evidence goes to the bank.")]
    status: Annotated[AnswerStatus, Meta(description="`done` when the gateway has it.")]
    status_reason: Annotated[str | None, Meta(description="Why it stands there.")]
    created_at: datetime


class DisputeView(Struct, frozen=True, kw_only=True):
    """A dispute as its gateway last showed it: amounts in minor units, times in UTC (RFC 3339)."""

    id: fields.DisputeId
    payment: Annotated[fields.PaymentId, Meta(description="Which payment it is about.")]
    status: Annotated[DisputeStatus, Meta(description="Where it stands.")]
    amount: Annotated[fields.Sum, Meta(description="What the bank asks back.")]
    currency: fields.CurrencyShown
    disputed_amount: Annotated[
        fields.Sum,
        Meta(
            description="What of it counts against the payment now: nothing for an inquiry, or "
            "once it was won."
        ),
    ]
    reason: Annotated[str, Meta(description="Why, in the gateway's word.")]
    evidence_due_by: Annotated[
        datetime | None, Meta(description="Evidence that comes later is not looked at.")
    ]
    has_evidence: Annotated[bool, Meta(description="The gateway has some, submitted or not.")]
    submissions: Annotated[
        int, Meta(description="How often evidence was submitted.", extra_json_schema={"minimum": 0})
    ]
    answer: Annotated[AnswerView | None, Meta(description="The newest answer, if there is one.")]
    gateway: Annotated[str, Meta(description="Which gateway it lies at.")]
    gateway_dispute: Annotated[str, Meta(description="The gateway's own id of it.")]
    opened_at: Annotated[datetime, Meta(description="When it was opened, as the gateway says.")]
    created_at: datetime
    updated_at: datetime


class DisputeList(Struct, frozen=True, kw_only=True):
    """A page, newest first."""

    data: list[DisputeView]
    next_cursor: Annotated[
        fields.DisputeId | None,
        Meta(description="Where to go on, as `cursor`; null at the end of the list."),
    ]


class DisputeParameters(Struct, frozen=True, kw_only=True):
    """What a list of disputes may be asked for."""

    payment: Annotated[
        fields.PaymentId | None, Meta(description="Only disputes of this payment.")
    ] = None
    cursor: Annotated[
        fields.DisputeId | None, Meta(description="The `next_cursor` of the page before.")
    ] = None
    limit: Limit = LIMIT_DEFAULT


_evidence_decoder: Final = msgspec.json.Decoder(GiveEvidence)
_accept_decoder: Final = msgspec.json.Decoder(AcceptDispute)


class DisputeOperations:
    """What can be asked for disputes over HTTP; each method answers with a Reply, always."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        clock: Clock,
        keys: ApiKeys,
        texts: TextStore,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._pool, self._clock, self._keys = pool, clock, keys
        self._texts, self._random_bytes = texts, random_bytes

    async def get(self, asked: Asked, dispute_text: str) -> Reply:
        """GET /v1/disputes/{id}."""
        return await answer(self._get, asked, dispute_text)

    async def list_page(self, asked: Asked, query: dict[str, list[str]]) -> Reply:
        """GET /v1/disputes."""
        return await answer(self._list, asked, query)

    async def give_evidence(self, asked: Asked, dispute_text: str) -> Reply:
        """POST /v1/disputes/{id}/evidence."""
        return await answer(self._give_evidence, asked, dispute_text)

    async def accept(self, asked: Asked, dispute_text: str) -> Reply:
        """POST /v1/disputes/{id}/accept."""
        return await answer(self._accept, asked, dispute_text)

    async def _give_evidence(self, asked: Asked, dispute_text: str) -> Reply:
        credential = await authorise(self._keys, asked, "disputes:write")
        key = bodies.check_idempotency_key(asked.idempotency_key)
        body = bodies.decode(asked, _evidence_decoder, bodies.fields_of(GiveEvidence))
        texts: dict[str, str] = msgspec.to_builtins(body.evidence)
        bodies.check_evidence(texts)
        keys = await self._texts.keys(credential.legal_entity_id)
        path = f"{PATH}/{dispute_text}/evidence"
        stable = {"evidence": texts, "submit": body.submit}
        wish = self._wish(credential, key, dispute_text, "evidence")
        salt = self._random_bytes(SALT_BYTES)
        sealed, commitment = seal_evidence(keys, wish.answer_id, texts, salt)
        wish = replace(
            wish,
            submits=body.submit,
            sealed=sealed,
            commitment=commitment,
            fingerprint=fingerprint("POST", path, stable, keys.mac),
        )
        return await self._ask(wish)

    async def _accept(self, asked: Asked, dispute_text: str) -> Reply:
        credential = await authorise(self._keys, asked, "disputes:write")
        key = bodies.check_idempotency_key(asked.idempotency_key)
        bodies.decode(asked, _accept_decoder, bodies.fields_of(AcceptDispute))
        path = f"{PATH}/{dispute_text}/accept"
        wish = self._wish(credential, key, dispute_text, "accept")
        return await self._ask(replace(wish, fingerprint=fingerprint("POST", path, {})))

    def _wish(
        self, credential: Credential, key: str, dispute_text: str, kind: AnswerKind
    ) -> AnswerWish:
        entity, now = credential.legal_entity_id, self._clock.now()
        return AnswerWish(
            legal_entity_id=entity,
            dispute_id=dispute_id_of(dispute_text),
            answer_id=new_id(microseconds_since_epoch(now), entity),
            kind=kind,
            submits=False,
            sealed=None,
            commitment=None,
            gateway_key=f"sr_{gateway_key_seed(entity, key).hex()}_{kind}",
            idempotency_key=key,
            fingerprint=b"",
            actor=credential.actor,
            at=now,
        )

    async def _ask(self, wish: AnswerWish) -> Reply:
        shown, replayed = await ask_answer(self._pool, wish)
        view = view_of(shown)
        headers = [("location", f"{PATH}/{view.id}")]
        if replayed:
            headers.append(("idempotent-replayed", "true"))
        under_way = view.answer is not None and view.answer.status == "processing"
        return json_reply(202 if under_way else 200, view, *headers)

    async def _get(self, asked: Asked, dispute_text: str) -> Reply:
        credential = await authorise(self._keys, asked, "disputes:read")
        dispute_id = dispute_id_of(dispute_text)
        found = await read_disputes(self._pool, {dispute_id: credential.legal_entity_id})
        if not found:
            raise Missing("dispute_not_found")
        return json_reply(200, view_of(found[0]))

    async def _list(self, asked: Asked, query: dict[str, list[str]]) -> Reply:
        credential = await authorise(self._keys, asked, "disputes:read")
        given, below, limit = read_page(query, DisputeParameters, "dsp")
        payment_id: UUID | None = None
        if (text := given.get("payment")) is not None:
            payment_id = payment_id_of(text)
        page = await list_disputes(self._pool, credential.legal_entity_id, payment_id, below, limit)
        cursor = None if page.below is None else to_text("dsp", page.below)
        views = [view_of(dispute) for dispute in page.disputes]
        return json_reply(200, DisputeList(data=views, next_cursor=cursor))


def view_of(shown: Shown) -> DisputeView:
    """The dispute as callers see it, with its newest answer."""
    dispute, newest = shown
    return DisputeView(
        id=to_text("dsp", dispute.dispute_id),
        payment=to_text("pay", dispute.payment_id),
        status=dispute.status,
        amount=dispute.amount_minor,
        currency=dispute.currency,
        disputed_amount=dispute.disputed_minor,
        reason=dispute.reason,
        evidence_due_by=dispute.evidence_due_by,
        has_evidence=dispute.has_evidence,
        submissions=dispute.submissions,
        answer=None
        if newest is None
        else AnswerView(
            kind=newest.kind,
            submit=newest.submits,
            status=newest.status,
            status_reason=newest.status_reason,
            created_at=newest.created_at,
        ),
        gateway=dispute.gateway,
        gateway_dispute=dispute.gateway_object_id,
        opened_at=dispute.opened_at,
        created_at=dispute.created_at,
        updated_at=dispute.updated_at,
    )


def dispute_id_of(text: str) -> UUID:
    """The id in its text form; malformed ones are unknown ones."""
    try:
        return from_text("dsp", text)
    except MalformedId:
        raise Missing("dispute_not_found") from None
