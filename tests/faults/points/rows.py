"""Statements that tell how the rows of a case stand."""

from collections.abc import Collection
from typing import Any, Final

STATE_SQL: Final = """
SELECT left(md5(string_agg(line, ' ' ORDER BY line) FILTER (WHERE of <> 'log')), 10) AS money,
  left(md5(string_agg(line, ' ' ORDER BY line) FILTER (WHERE of = 'log')), 10) AS log,
  left(md5(string_agg(line, ' ' ORDER BY line)), 10) AS whole
FROM (
  SELECT 'money' AS of, 'pay ' || row_number() OVER (ORDER BY payment_id) || status
    || coalesce(status_reason, '') || version || ' ' || captured_minor || ' ' || refunding_minor
    || ' ' || refunded_minor || ' ' || attempt_no || coalesce(closing, '') AS line FROM payments
  UNION ALL SELECT 'money', 'try ' || attempt_no || kind || state
    || (gateway_object_id IS NULL)::text || jsonb_array_length(calls) FROM attempts
  UNION ALL SELECT 'money', 'back ' || row_number() OVER (ORDER BY refund_id) || status
    || coalesce(gateway_object_id IS NULL, false)::text FROM refunds
  UNION ALL SELECT 'money', 'job ' || held || least(tries, 3) FROM jobs
  UNION ALL SELECT 'money', 'job of a refund ' || held || least(tries, 3) FROM refund_jobs
  UNION ALL SELECT 'money', 'card ' || status || count(*) FROM payment_methods GROUP BY status
  UNION ALL SELECT 'money', 'keys ' || count(*) FROM idempotency_keys
  UNION ALL SELECT 'hint', 'hint ' || state || least(tries, 2) || count(*) FROM webhook_events
    GROUP BY state, least(tries, 2)
  UNION ALL SELECT 'told', 'told ' || state || (tried_at IS NULL)::text || count(*)
    FROM webhook_deliveries GROUP BY state, tried_at IS NULL
  UNION ALL SELECT 'log', 'events ' || count(*) FROM events
  UNION ALL SELECT 'log', 'events of customers ' || count(*) FROM customer_events
  UNION ALL SELECT 'log', 'placed ' || count(*) FROM log_entries
  UNION ALL SELECT 'log', 'signed ' || coalesce(max(size), 0) FROM log_checkpoints
) AS lines
"""
"""Digests of what is committed, without what differs from run to run: of money, log, and all."""
ALIKE: Final = "alike"
"""The state at a place that looks at no rows."""
SESSION_PLACES: Final = (
    " connect", " prepare ", " SELECT current_setting(", " WITH RECURSIVE typeinfo_tree(",
)  # fmt: skip
"""A connection is opened, and a statement prepared there, at a time of its own; what is done with
it comes next, and is a place with its rows."""
LOG_PLACES: Final = ("sequencer ", "signer ", "strongroom.log.", "strongroom.cli.signer")


def digest_at(place: str, parts: Collection[str]) -> str:
    """Which digest tells states apart at a place, or ALIKE. The log goes behind money, at a pace of
    its own, and money never waits for it."""
    if any(part in place for part in SESSION_PLACES):
        return ALIKE
    if place.startswith(LOG_PLACES):
        return "log"
    return "whole" if {"webhooks", "deliverer"} & set(parts) else "money"


NEXT_DUE_SQL: Final = """
SELECT min(due) AS due FROM (
  SELECT min(run_at) AS due FROM jobs WHERE $1 OR NOT held
  UNION ALL SELECT min(j.run_at)
    FROM refund_jobs j JOIN refunds r USING (legal_entity_id, refund_id)
    WHERE ($1 OR NOT j.held) AND r.status IN ('processing', 'pending', 'outcome_unknown')
  UNION ALL SELECT min(run_at) FROM webhook_events WHERE state = 'received'
  UNION ALL SELECT min(run_at) FROM payment_method_jobs
  UNION ALL SELECT min(CASE WHEN $1 THEN greatest(d.run_at, e.held_until) ELSE d.run_at END)
    FROM webhook_deliveries d JOIN webhook_endpoints e USING (legal_entity_id, endpoint_id)
    WHERE d.state = 'waiting'
  UNION ALL SELECT min(e.held_until) FROM webhook_endpoints e
    JOIN log_heads h USING (legal_entity_id) WHERE $1 AND h.size > e.next_index
) AS all_due
"""
"""When something is due; $1: whether the end of a lease counts."""

PAYMENTS_SQL: Final = """
SELECT 'payment ' || status || coalesce(' ' || status_reason, '') AS what FROM payments
WHERE (status = ANY ($1) OR review IS NOT NULL) AND coalesce(review, '') <> ALL ($2)
"""
REFUNDS_SQL: Final = """
SELECT 'refund ' || status AS what FROM refunds
WHERE (status IN ('processing', 'pending', 'outcome_unknown') OR review IS NOT NULL)
  AND coalesce(review, '') <> ALL ($1)
"""
JOBS_SQL: Final = "SELECT 'job of a payment' AS what FROM jobs"
HINTS_SQL: Final = "SELECT 'hint' AS what FROM webhook_events WHERE state = 'received'"
CARDS_SQL: Final = "SELECT 'job of a card' AS what FROM payment_method_jobs"
PLACED_SQL: Final = """
SELECT 'event without a place' AS what FROM events e
WHERE NOT EXISTS (SELECT FROM log_entries l WHERE l.legal_entity_id = e.legal_entity_id
  AND l.subject_id = e.payment_id AND l.version = e.version)
"""
SIGNED_SQL: Final = """
SELECT 'entry that is not signed' AS what
WHERE (SELECT count(*) FROM log_entries) > (SELECT coalesce(max(size), 0) FROM log_checkpoints)
"""
TOLD_SQL: Final = """
SELECT 'event that is not told' AS what FROM events e
WHERE e.actor NOT LIKE 'operator:%' AND NOT EXISTS (SELECT FROM webhook_deliveries d
  WHERE d.legal_entity_id = e.legal_entity_id AND d.subject_id = e.payment_id
    AND d.version = e.version AND d.state = 'delivered')
"""
LEAKS_SQL: Final = """
SELECT application_name, state FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'strongroom-%'
  AND state LIKE 'idle in transaction%' AND state_change < clock_timestamp() - interval '3 s'
"""
SESSIONS_SQL: Final = """
SELECT 1 AS one FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'strongroom-%'
"""
OPEN: Final = ("processing", "requires_action", "outcome_unknown")


async def stands(ground: Any, flow: Any) -> list[str]:
    """What is still to be done of what the flow's parts do."""
    frozen = list(flow.frozen)
    found = [row["what"] for row in await ground.fetch(PAYMENTS_SQL, list(OPEN), frozen)]
    found += [row["what"] for row in await ground.fetch(REFUNDS_SQL, frozen)]
    queries = []
    if flow.ends_without_jobs:
        queries.append(JOBS_SQL)
    by_part = {
        "webhooks": HINTS_SQL, "saving": CARDS_SQL, "sequencer": PLACED_SQL, "signer": SIGNED_SQL,
        "deliverer": TOLD_SQL,
    }  # fmt: skip
    queries += [query for part, query in by_part.items() if part in flow.parts]
    for query in queries:
        found += [row["what"] for row in await ground.fetch(query)]
    return found
