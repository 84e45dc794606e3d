-- begin_walks: a walk for each legal entity of these buckets that has none
INSERT INTO walks (legal_entity_id, walk, bucket, reached, run_at)
SELECT e.legal_entity_id, 'idempotency_keys', e.bucket, '', $2
FROM directory.legal_entities e WHERE e.bucket = ANY ($1::smallint[])
ON CONFLICT DO NOTHING;

-- claim_walks: those that are due in these buckets; run_at becomes the end of the lease
WITH due AS MATERIALIZED (
  SELECT found.legal_entity_id, found.walk
  FROM unnest($1::smallint[]) AS served (bucket)
  CROSS JOIN LATERAL (
    SELECT w.legal_entity_id, w.walk FROM walks w
    WHERE w.bucket = served.bucket AND w.run_at <= $2
    ORDER BY w.run_at LIMIT $3 FOR UPDATE SKIP LOCKED
  ) found
  LIMIT $3
)
UPDATE walks w SET run_at = $4
FROM due WHERE w.legal_entity_id = due.legal_entity_id AND w.walk = due.walk
RETURNING w.legal_entity_id, w.reached;

-- expire_keys: look at the next keys in order; those go that are old, and whose payment, or refund,
-- has been at its end for as long
WITH page AS MATERIALIZED (
  SELECT k.legal_entity_id, k.idempotency_key, k.payment_id, k.refund_id, k.created_at
  FROM idempotency_keys k
  WHERE k.legal_entity_id = $1 AND k.idempotency_key > $2
  ORDER BY k.legal_entity_id, k.idempotency_key LIMIT $3
), over AS MATERIALIZED (
  SELECT page.idempotency_key FROM page
  CROSS JOIN LATERAL (SELECT * FROM payments found
    WHERE found.legal_entity_id = page.legal_entity_id
      AND found.payment_id = page.payment_id LIMIT 1) p
  WHERE page.created_at < $4 AND p.updated_at < $4 AND p.review IS NULL
    AND p.status IN ('succeeded', 'failed', 'canceled')
    AND (page.refund_id IS NULL OR (SELECT r.status IN ('succeeded', 'failed') AND r.review IS NULL
        AND r.updated_at < $4 FROM refunds r
      WHERE r.legal_entity_id = page.legal_entity_id AND r.refund_id = page.refund_id))
), gone AS (
  DELETE FROM idempotency_keys k
  WHERE k.legal_entity_id = $1
    AND k.idempotency_key = ANY (ARRAY(SELECT over.idempotency_key FROM over))
  RETURNING k.idempotency_key
)
SELECT (SELECT max(idempotency_key) FROM page) AS reached, (SELECT count(*) FROM page) AS looked_at,
  (SELECT count(*) FROM gone) AS deleted;

-- go_on: where the walk of this entity is, and when it goes on
UPDATE walks SET reached = $2, run_at = $3
WHERE legal_entity_id = $1 AND walk = 'idempotency_keys';
