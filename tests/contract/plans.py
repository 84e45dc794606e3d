"""How statements run: what a plan reads, and how."""

import json
from collections.abc import Iterator
from typing import Any, Final

BIG: Final = (
    "payments", "attempts", "jobs", "events", "merchant_references", "idempotency_keys",
    "refunds", "refund_jobs", "subject_keys", "tombstones", "webhook_events",
)  # fmt: skip


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
