"""The story of one payment for a person: request, attempts, gateway calls, states, in order."""

from datetime import datetime
from typing import Any

import msgspec

from strongroom.clock import rfc3339
from strongroom.ids import to_text
from strongroom.money import as_decimal_text
from strongroom.payments.reads import History

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
        f"merchant reference  {payment.merchant_reference}",
        f"gateway             {payment.gateway or 'none yet'}",
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


def _story(history: History) -> list[tuple[datetime, str, str]]:
    story: list[tuple[datetime, str, str]] = []
    for attempt in history.attempts:
        number = attempt["attempt_no"]
        story.append((attempt["opened_at"], "attempt opened", f"attempt {number}  by worker"))
        story.extend(_call(attempt, call) for call in attempt["calls"])
    by_number = {attempt["attempt_no"]: attempt for attempt in history.attempts}
    for event in history.events:
        payload = event["payload"]
        if "call" in payload:
            story.append(_call(by_number[payload["attempt"]["no"]], payload["call"]))
        detail = [f"v{event['version']}"]
        detail += [f"{name}={payload[name]}" for name in _SHOWN if payload.get(name) is not None]
        if "attempt" in payload:
            number, state = payload["attempt"]["no"], payload["attempt"]["state"]
            detail.append(f"attempt={number}" + (f":{state}" if state else ""))
        if payload.get("idempotency_key"):
            detail.append(f"idempotency_key={payload['idempotency_key']}")
        if event["kind"] == "attempt.answered_late" and "call" in payload:
            call = payload["call"]
            detail.append(f"late answer to {call['operation']}: {call['outcome']}")
        detail.append(f"by {event['actor']}")
        story.append((event["at"], event["kind"], "  ".join(detail)))
    return story


def _call(attempt: dict[str, Any], call: dict[str, Any]) -> tuple[datetime, str, str]:
    detail = [f"attempt {attempt['attempt_no']}", f"{call['duration_ms']:.1f} ms", call["outcome"]]
    if "http_status" in call:
        detail.append(f"HTTP {call['http_status']}")
    if "code" in call:
        detail.append(f"code {call['code']}")
    if attempt["gateway_object_id"]:
        detail.append(attempt["gateway_object_id"])
    if "gateway_request_id" in call:
        detail.append(call["gateway_request_id"])
    started_at: datetime = msgspec.convert(call["started_at"], datetime, strict=False)
    return started_at, f"call {attempt['gateway']} {call['operation']}", "  ".join(detail)


def _plan(history: History) -> str:
    if history.job is None:
        return "Nothing is left to do."
    return f"Next look at {rfc3339(history.job['run_at'])}, after {history.job['tries']} so far."
