"""The story of one payment for a person: request, attempts, gateway calls, states, in order."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from strongroom.clock import rfc3339
from strongroom.ids import to_text
from strongroom.money import as_decimal_text
from strongroom.payments.reads import History
from strongroom.payments.states import Payment

_SHOWN = ("status", "status_reason", "review", "closing", "closing_reason")


def explain_lines(history: History, *, short: bool = False) -> list[str]:
    """Lines to print: a head with how it stands now, then one line for everything that happened.

    `short` leaves out the story.
    """
    payment = history.payment
    head = [
        f"payment             {to_text('pay', payment.payment_id)}",
        f"status              {payment.status}"
        + (f" ({payment.status_reason})" if payment.status_reason else ""),
        f"amount              {as_decimal_text(payment.amount_minor, payment.currency)}",
        f"captured            {as_decimal_text(payment.captured_minor, payment.currency)}",
        *_sums(payment),
        f"merchant reference  {payment.merchant_reference}",
        f"gateway             {payment.gateway or 'none yet'}",
        *_route(history),
        f"legal entity        {to_text('ent', payment.legal_entity_id)}",
    ]
    if payment.review:
        head.append(f"review              {payment.review}: frozen, a person has to look")
    if short:
        return head
    happened = sorted(_story(history), key=lambda item: item[0])
    width = max((len(what) for _, what, _ in happened), default=0)
    lines = [f"{rfc3339(at)}  {what:<{width}}  {detail}".rstrip() for at, what, detail in happened]
    return [*head, "", *lines, "", _plan(history)]


def _route(history: History) -> list[str]:
    """By which rule it last went where it went, and why those before did not match."""
    told = [event["payload"].get("route") for event in history.events]
    found = next((one for one in reversed(told) if one is not None), None)
    if found is None:
        return []
    passed = [f"{name}: {why}" for name, why in found["considered"] if why is not None]
    rule = found["rule"] or "none; the instrument decided"
    return [
        f"route               {rule}",
        *(f"  passed over       {one}" for one in passed),
    ]


def _sums(payment: Payment) -> list[str]:
    """What was given back, and until when money is held, where there is something to say."""
    lines = []
    if payment.refunded_minor:
        amount = as_decimal_text(payment.refunded_minor, payment.currency)
        lines.append(f"refunded            {amount}")
    if payment.refunding_minor:
        amount = as_decimal_text(payment.refunding_minor, payment.currency)
        lines.append(f"being refunded      {amount}")
    if payment.status == "authorized" and payment.capture_before is not None:
        lines.append(f"held until          {rfc3339(payment.capture_before)}")
    return lines


def _story(history: History) -> list[tuple[datetime, str, str]]:
    story: list[tuple[datetime, str, str]] = []
    for attempt in history.attempts:
        number = attempt["attempt_no"]
        story.append((attempt["opened_at"], "attempt opened", f"attempt {number}  by worker"))
        story.extend(_call(attempt, call) for call in attempt["calls"])
    for refund in history.refunds:
        story.extend(_refund_call(history, refund["refund_id"], call) for call in refund["calls"])
    by_number = {attempt["attempt_no"]: attempt for attempt in history.attempts}
    for event in history.events:
        payload = event["payload"]
        refund = payload.get("refund")
        if "call" in payload and refund is not None:
            story.append(_refund_call(history, refund["id"], payload["call"]))
        elif "call" in payload and "attempt" in payload:
            story.append(_call(by_number[payload["attempt"]["no"]], payload["call"]))
        elif "call" in payload:  # of a dispute, or of a tax
            call = payload["call"]
            story.append(_shown_call(f"call {call['operation']}", event["kind"], None, call))
        detail = [f"v{event['version']}"]
        detail += [f"{name}={payload[name]}" for name in _SHOWN if payload.get(name) is not None]
        if "attempt" in payload:
            number, state = payload["attempt"]["no"], payload["attempt"]["state"]
            detail.append(f"attempt={number}" + (f":{state}" if state else ""))
        if refund is not None:
            detail.append(_refund(refund, history.payment.currency))
        if "tax" in payload:
            detail.append(_tax(payload["tax"], history.payment.currency))
        if payload.get("idempotency_key"):
            detail.append(f"idempotency_key={payload['idempotency_key']}")
        if event["kind"] == "attempt.answered_late" and "call" in payload:
            call = payload["call"]
            detail.append(f"late answer to {call['operation']}: {call['outcome']}")
        detail += [f"by {event['actor']}", *_place(event)]
        story.append((event["at"], event["kind"], "  ".join(detail)))
    return story


def _place(event: dict[str, Any]) -> list[str]:
    """Where the log has it, once it does."""
    return [] if event["index"] is None else [f"log {event['index']}"]


def _refund(summary: dict[str, Any], currency: str) -> str:
    detail = [
        to_text("ref", UUID(summary["id"])),
        as_decimal_text(summary["amount_minor"], currency),
        summary["status"],
    ]
    detail += [summary[name] for name in ("status_reason", "review") if summary[name]]
    return " ".join(detail)


def _tax(summary: dict[str, Any], currency: str) -> str:
    detail = [
        summary["kind"],
        as_decimal_text(summary["amount_minor"], currency),
        summary["status"],
        summary["reference"],
    ]
    detail += [summary[name] for name in ("gateway_object_id", "status_reason") if summary[name]]
    return " ".join(detail)


def _refund_call(
    history: History, refund_id: UUID | str, call: dict[str, Any]
) -> tuple[datetime, str, str]:
    text = to_text("ref", UUID(str(refund_id)))
    return _shown_call(f"call {history.payment.gateway} {call['operation']}", text, None, call)


def _call(attempt: dict[str, Any], call: dict[str, Any]) -> tuple[datetime, str, str]:
    return _shown_call(
        f"call {attempt['gateway']} {call['operation']}",
        f"attempt {attempt['attempt_no']}",
        attempt["gateway_object_id"],
        call,
    )


def _shown_call(
    what: str, whose: str, object_id: str | None, call: dict[str, Any]
) -> tuple[datetime, str, str]:
    detail = [whose, f"{call['duration_ms']:.1f} ms", call["outcome"]]
    if "http_status" in call:
        detail.append(f"HTTP {call['http_status']}")
    if "code" in call:
        detail.append(f"code {call['code']}")
    if object_id:
        detail.append(object_id)
    if "gateway_request_id" in call:
        detail.append(call["gateway_request_id"])
    started_at: datetime = msgspec.convert(call["started_at"], datetime, strict=False)
    return started_at, what, "  ".join(detail)


def _plan(history: History) -> str:
    planned = [history.job] if history.job is not None else []
    planned += [refund for refund in history.refunds if refund["run_at"] is not None]
    if not planned:
        return "Nothing is left to do."
    first = min(planned, key=lambda job: job["run_at"])
    return f"Next look at {rfc3339(first['run_at'])}, after {first['tries']} so far."
