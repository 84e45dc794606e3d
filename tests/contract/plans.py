"""How statements run: what a plan reads, and how."""

import json
from collections.abc import Iterator
from typing import Any, Final

BIG: Final = (
    "payments", "attempts", "jobs", "events", "merchant_references", "idempotency_keys",
    "refunds", "refund_jobs", "subject_keys", "tombstones", "webhook_events",
)  # fmt: skip

OF_THE_WORKER: Final = (
    "payments/engine.sql:claim", "payments/engine.sql:payments_due",
    "payments/refunds.sql:refunds_due", "webhooks/webhooks.sql:hints_due",
    "payments/payments.sql:payments_by_id", "payments/engine.sql:read_attempts",
    "payments/engine.sql:apply", "payments/engine.sql:settle_attempts",
    "payments/engine.sql:commit_object_ids", "payments/engine.sql:reschedule",
    "payments/engine.sql:remove_jobs", "telemetry/open_work.sql:jobs_due",
    "telemetry/open_work.sql:payments_at_work", "telemetry/open_work.sql:refund_jobs_due",
    "telemetry/open_work.sql:refunds_at_work", "payments/refunds.sql:claim_refunds",
    "payments/refunds.sql:open_refunds", "payments/refunds.sql:settle_refunds",
    "payments/refunds.sql:reschedule_refunds", "payments/refunds.sql:remove_refund_jobs",
    "payments/refunds.sql:keep_refund_calls", "payments/commands.sql:refunds_by_id",
    "webhooks/webhooks.sql:due_hints", "webhooks/webhooks.sql:attempts_hinted",
    "webhooks/webhooks.sql:refunds_hinted", "webhooks/webhooks.sql:hurry_payments",
    "webhooks/webhooks.sql:hurry_refunds", "webhooks/webhooks.sql:end_hints",
    "webhooks/webhooks.sql:hints_open", "webhooks/webhooks.sql:hints_parked",
)  # fmt: skip
OF_THE_API: Final = (
    "payments/commands.sql:lock_payments", "payments/payments.sql:keys_held",
    "payments/commands.sql:claim_keys", "payments/commands.sql:command",
    "payments/commands.sql:run_jobs_at", "payments/commands.sql:add_refunds",
    "payments/commands.sql:refunds_by_id", "payments/commands.sql:list_refunds_of_payment",
    "webhooks/webhooks.sql:stored", "webhooks/webhooks.sql:store",
)  # fmt: skip
"""What goes by key on the path of money, by who asks."""


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's node and all below it."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def slow_reads(explained: str) -> list[str]:
    """What in the answer of EXPLAIN (FORMAT JSON) reads more of a big table than it has to.

    A sequential scan, or an index that is read from end to end and not at a place.
    """
    wrong = []
    conditions: dict[str, str] = {}
    every = list(nodes(json.loads(explained)[0]["Plan"]))
    for node in every:
        relation = node.get("Relation Name", "")
        big = relation.startswith(BIG)
        if node["Node Type"] == "Seq Scan" and big:
            wrong.append(f"sequential scan of {relation}")
        if "Index Name" in node:
            conditions[node["Index Name"]] = node.get("Index Cond", "")
            table_of_bitmap = node["Node Type"] == "Bitmap Index Scan"
            if (big or table_of_bitmap) and not bounded(node.get("Index Cond", "")):
                wrong.append(f"{node['Index Name']} read from end to end")
    return wrong


def bounded(condition: str) -> bool:
    """Whether a condition on an index goes to few rows; a walk through keys has its LIMIT."""
    wanted = (
        "payment_id =",
        "bucket =",
        "merchant_reference =",
        "refund_id =",
        "idempotency_key =",
        "gateway_event_id =",
        "idempotency_key >",
        "subject_id =",
        "subject_id >",
    )
    return any(column in condition for column in wanted)
