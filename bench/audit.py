"""Counts rows after a run: each accepted payment is there once, and charged at most once."""

from bench.cluster import Deployment, query

_COUNTS = """
SELECT
  (SELECT count(*) FROM payments) AS payments,
  (SELECT count(*) FROM idempotency_keys) AS keys,
  (SELECT count(*) FROM merchant_references) AS references,
  (SELECT count(*) FROM jobs) AS jobs,
  (SELECT count(*) FROM events WHERE actor NOT LIKE 'operator:%') AS events,
  (SELECT coalesce(sum(version), 0) FROM payments) AS versions,
  (SELECT count(*) FROM events WHERE kind = 'payment.accepted') AS accepted_events,
  (SELECT count(*) FROM payments WHERE status = 'succeeded') AS succeeded,
  (SELECT count(*) FROM payments WHERE status = 'succeeded'
    AND captured_minor <> amount_minor) AS wrong_amounts,
  (SELECT count(*) FROM attempts) AS attempts,
  (SELECT count(*) FROM attempts WHERE state = 'approved') AS approved,
  (SELECT count(*) FROM (SELECT FROM attempts WHERE state = 'approved'
    GROUP BY legal_entity_id, payment_id HAVING count(*) > 1) AS twice) AS charged_twice
"""


def audit(deployment: Deployment, accepted: int, *, settled: int | None = None) -> list[str]:
    """What does not add up; nothing when all is well.

    `accepted` is the number of 2xx answers. With `settled` all of them are expected to have
    succeeded; without, none of them was worked on.
    """
    row = query(deployment.owner_url, _COUNTS)[0]
    expected = {
        "payments": accepted,
        "keys": accepted,
        "references": accepted,
        "accepted_events": accepted,
        "events": int(row["versions"]),
        "wrong_amounts": 0,
        "charged_twice": 0,
    }
    if settled is None:
        expected |= {"jobs": accepted, "attempts": 0}
    else:
        expected |= {"succeeded": settled, "approved": settled, "jobs": accepted - settled}
    return [
        f"{name}: {row[name]}, expected {wanted}"
        for name, wanted in expected.items()
        if row[name] != wanted
    ]


_ROWS_READ = """
SELECT relname, sum(coalesce(seq_tup_read, 0))::bigint + sum(coalesce(read_by_index, 0))::bigint
FROM (
  SELECT t.relname, t.seq_tup_read, (SELECT sum(i.idx_tup_read) FROM pg_stat_user_indexes i
    WHERE i.relid = t.relid) AS read_by_index
  FROM pg_stat_user_tables t WHERE t.schemaname = 'strongroom'
) AS tables
GROUP BY relname
"""
ROWS_READ_SHOWN = 0.05


def index_reads(deployment: Deployment) -> dict[str, int]:
    """Rows and index entries that statements have read so far, by table."""
    return {str(row[0]): int(row[1]) for row in query(deployment.owner_url, _ROWS_READ)}


def rows_read(
    deployment: Deployment, payments: int, before: dict[str, int] | None = None
) -> dict[str, float]:
    """Rows and index entries that statements have read, by table, for each payment.

    A few are right. Many mean a plan that walks through a table, and costs more as it grows.
    Complete when the processes have ended: a backend reports at its end at the latest. What was
    read `before` does not count.
    """
    each = {
        table: round((count - (before or {}).get(table, 0)) / max(1, payments), 2)
        for table, count in index_reads(deployment).items()
    }
    return {table: count for table, count in each.items() if count >= ROWS_READ_SHOWN}
