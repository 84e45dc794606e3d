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

-- method_jobs_due: the same for payment methods, and for payments that are to save one
WITH looked_at AS MATERIALIZED (
  SELECT found.legal_entity_id, found.run_at
  FROM unnest($1::smallint[]) AS served (bucket)
  CROSS JOIN LATERAL (
    (SELECT j.legal_entity_id, j.run_at FROM payment_method_jobs j
      WHERE j.bucket = served.bucket ORDER BY j.run_at LIMIT $3)
    UNION ALL
    (SELECT s.legal_entity_id, s.run_at FROM payment_savings s
      WHERE s.bucket = served.bucket AND s.run_at IS NOT NULL ORDER BY s.run_at LIMIT $3)
  ) found
)
SELECT legal_entity_id, count(*) AS planned, count(*) FILTER (WHERE run_at <= $2) AS due,
  min(run_at) AS first_run_at
FROM looked_at GROUP BY legal_entity_id;

-- tax_jobs_due: the same for tax calculations
WITH looked_at AS MATERIALIZED (
  SELECT found.legal_entity_id, found.run_at
  FROM unnest($1::smallint[]) AS served (bucket)
  CROSS JOIN LATERAL (SELECT j.legal_entity_id, j.run_at FROM tax_jobs j
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

-- methods_at_work: the same for payment methods
WITH looked_at AS MATERIALIZED (
  SELECT found.legal_entity_id, found.payment_method_id
  FROM unnest($1::smallint[]) AS served (bucket)
  CROSS JOIN LATERAL (SELECT j.legal_entity_id, j.payment_method_id FROM payment_method_jobs j
    WHERE j.bucket = served.bucket ORDER BY j.run_at LIMIT $2) found
)
SELECT p.status, count(*) AS number, min(p.updated_at) AS since
FROM looked_at
CROSS JOIN LATERAL (SELECT found.status, found.updated_at FROM payment_methods found
  WHERE found.legal_entity_id = looked_at.legal_entity_id
    AND found.payment_method_id = looked_at.payment_method_id LIMIT 1) p
GROUP BY p.status;

-- reviews_open: by lane, what is under review in these buckets, and since when
WITH looked_at AS MATERIALIZED (
  SELECT found.lane, found.since
  FROM unnest($1::smallint[]) AS served (bucket)
  CROSS JOIN LATERAL (SELECT r.lane, r.since FROM reviews r
    WHERE r.bucket = served.bucket ORDER BY r.since LIMIT $2) found
)
SELECT lane, count(*) AS number, min(since) AS since FROM looked_at GROUP BY lane;

-- taxes_at_work: calculations that were asked for, and payments whose tax is to be reported
WITH looked_at AS MATERIALIZED (
  SELECT found.legal_entity_id, found.calculation_id
  FROM unnest($1::smallint[]) AS served (bucket)
  CROSS JOIN LATERAL (SELECT j.legal_entity_id, j.calculation_id FROM tax_jobs j
    WHERE j.bucket = served.bucket ORDER BY j.run_at LIMIT $2) found
), standing AS (
  SELECT CASE WHEN c.status = 'processing' THEN 'asked' ELSE 'unreported' END AS status,
    CASE WHEN c.status = 'processing' THEN c.created_at ELSE p.updated_at END AS since
  FROM looked_at
  CROSS JOIN LATERAL (SELECT found.status, found.created_at FROM tax_calculations found
    WHERE found.legal_entity_id = looked_at.legal_entity_id
      AND found.calculation_id = looked_at.calculation_id LIMIT 1) c
  LEFT JOIN LATERAL (SELECT found.legal_entity_id, found.payment_id FROM payment_taxes found
    WHERE found.legal_entity_id = looked_at.legal_entity_id
      AND found.calculation_id = looked_at.calculation_id LIMIT 1) t ON true
  LEFT JOIN LATERAL (SELECT found.status, found.updated_at FROM payments found
    WHERE found.legal_entity_id = t.legal_entity_id AND found.payment_id = t.payment_id LIMIT 1) p
    ON true
  WHERE c.status = 'processing' OR p.status = 'succeeded'
)
SELECT status, count(*) AS number, min(since) AS since FROM standing GROUP BY status;
