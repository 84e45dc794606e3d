-- jobs_due: by legal entity, what is planned for payments in these buckets; those due first
WITH looked_at AS MATERIALIZED (
  SELECT found.legal_entity_id, found.run_at
  FROM unnest($1::smallint[]) AS served (bucket)
  CROSS JOIN LATERAL (SELECT j.legal_entity_id, j.run_at FROM jobs j
    WHERE j.bucket = served.bucket ORDER BY j.run_at LIMIT $3) found
)
SELECT legal_entity_id, count(*) AS planned, count(*) FILTER (WHERE run_at <= $2) AS due,
  min(run_at) AS first_run_at
FROM looked_at GROUP BY legal_entity_id;

-- refund_jobs_due: the same for refunds
WITH looked_at AS MATERIALIZED (
  SELECT found.legal_entity_id, found.run_at
  FROM unnest($1::smallint[]) AS served (bucket)
  CROSS JOIN LATERAL (SELECT j.legal_entity_id, j.run_at FROM refund_jobs j
    WHERE j.bucket = served.bucket ORDER BY j.run_at LIMIT $3) found
)
SELECT legal_entity_id, count(*) AS planned, count(*) FILTER (WHERE run_at <= $2) AS due,
  min(run_at) AS first_run_at
FROM looked_at GROUP BY legal_entity_id;

-- payments_at_work: by status, the payments of these jobs, and since when the oldest stands there
WITH looked_at AS MATERIALIZED (
  SELECT found.legal_entity_id, found.payment_id
  FROM unnest($1::smallint[]) AS served (bucket)
  CROSS JOIN LATERAL (SELECT j.legal_entity_id, j.payment_id FROM jobs j
    WHERE j.bucket = served.bucket ORDER BY j.run_at LIMIT $2) found
)
SELECT p.status, count(*) AS number, min(p.updated_at) AS since
FROM looked_at
CROSS JOIN LATERAL (SELECT found.status, found.updated_at FROM payments found
  WHERE found.legal_entity_id = looked_at.legal_entity_id
    AND found.payment_id = looked_at.payment_id LIMIT 1) p
GROUP BY p.status;

-- refunds_at_work: the same for refunds
WITH looked_at AS MATERIALIZED (
  SELECT found.legal_entity_id, found.refund_id
  FROM unnest($1::smallint[]) AS served (bucket)
  CROSS JOIN LATERAL (SELECT j.legal_entity_id, j.refund_id FROM refund_jobs j
    WHERE j.bucket = served.bucket ORDER BY j.run_at LIMIT $2) found
)
SELECT p.status, count(*) AS number, min(p.updated_at) AS since
FROM looked_at
CROSS JOIN LATERAL (SELECT found.status, found.updated_at FROM refunds found
  WHERE found.legal_entity_id = looked_at.legal_entity_id
    AND found.refund_id = looked_at.refund_id LIMIT 1) p
GROUP BY p.status;
