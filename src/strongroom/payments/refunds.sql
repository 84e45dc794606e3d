-- claim_refunds: take what is due in these buckets; run_at becomes the end of the lease
WITH due AS MATERIALIZED (
  SELECT found.legal_entity_id, found.refund_id
  FROM unnest($1::smallint[]) AS served (bucket)
  CROSS JOIN LATERAL (
    SELECT j.legal_entity_id, j.refund_id FROM refund_jobs j
    WHERE j.bucket = served.bucket AND j.run_at <= $2
    ORDER BY j.run_at LIMIT $3 FOR UPDATE SKIP LOCKED
  ) found
  LIMIT $3
)
UPDATE refund_jobs j SET run_at = $4, held = true, lease = j.lease + 1, tries = j.tries + 1
FROM due WHERE j.legal_entity_id = due.legal_entity_id AND j.refund_id = due.refund_id
RETURNING j.legal_entity_id, j.refund_id, j.lease, j.tries;

-- open_refunds: commit what is about to be sent, before it is sent; what was opened before is not
UPDATE refunds r SET opened_at = $4, parameters = item.parameters
FROM unnest($1::uuid[], $2::uuid[], $3::jsonb[]) AS item (legal_entity_id, refund_id, parameters)
WHERE r.legal_entity_id = item.legal_entity_id AND r.refund_id = item.refund_id
  AND r.opened_at IS NULL
RETURNING r.refund_id;

-- unopen_refunds: certainly nothing was sent, so the window of the key has not begun
UPDATE refunds r SET opened_at = NULL, parameters = NULL
FROM unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, refund_id)
WHERE r.legal_entity_id = item.legal_entity_id AND r.refund_id = item.refund_id;

-- reopen_refunds: certainly nothing came of what was sent, so the window of the key begins anew
UPDATE refunds r SET opened_at = $3
FROM unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, refund_id)
WHERE r.legal_entity_id = item.legal_entity_id AND r.refund_id = item.refund_id;

-- settle_refunds: what a gateway said of refunds, in their rows and in their payments' sums
WITH item AS MATERIALIZED (
  SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::bigint[], $5::bigint[],
    $6::bigint[], $7::text[], $8::timestamptz[], $9::text[], $10::bytea[], $11::bytea[],
    $12::uuid[], $13::text[], $14::text[], $15::text[], $16::text[])
  AS item (legal_entity_id, payment_id, version, refunding_minor, refunded_minor, withheld_minor,
    payment_review, updated_at, kind, row_digest, payload, refund_id, status, status_reason, review,
    gateway_object_id)
), done AS (
  UPDATE payments p SET version = item.version, refunding_minor = item.refunding_minor,
    refunded_minor = item.refunded_minor, withheld_minor = item.withheld_minor,
    review = item.payment_review, updated_at = item.updated_at
  FROM item
  WHERE p.legal_entity_id = item.legal_entity_id AND p.payment_id = item.payment_id
    AND p.version = item.version - 1
  RETURNING p.payment_id
), refund AS (
  UPDATE refunds r SET status = item.status, status_reason = item.status_reason,
    review = item.review, gateway_object_id = item.gateway_object_id, updated_at = item.updated_at
  FROM item
  WHERE r.legal_entity_id = item.legal_entity_id AND r.refund_id = item.refund_id
    AND (item.payment_id IN (SELECT payment_id FROM done)) IS TRUE
), new_event AS (
  INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest,
    row_format, payload)
  SELECT legal_entity_id, payment_id, version, kind, $17, updated_at, row_digest, 4, payload
  FROM item WHERE (payment_id IN (SELECT payment_id FROM done)) IS TRUE
), tax AS (
  -- What was reported of the payment's tax follows its refunds.
  INSERT INTO tax_jobs AS j (legal_entity_id, calculation_id, bucket, run_at)
  SELECT DISTINCT item.legal_entity_id, t.calculation_id, e.bucket, item.updated_at
  FROM item
  CROSS JOIN LATERAL (SELECT * FROM payment_taxes found
    WHERE found.legal_entity_id = item.legal_entity_id
      AND found.payment_id = item.payment_id LIMIT 1) t
  CROSS JOIN LATERAL (SELECT found.bucket FROM directory.legal_entities found
    WHERE found.legal_entity_id = item.legal_entity_id LIMIT 1) e
  WHERE (item.payment_id IN (SELECT payment_id FROM done)) IS TRUE
  ON CONFLICT (legal_entity_id, calculation_id) DO UPDATE
  SET run_at = excluded.run_at, lease = j.lease + 1, tries = 0
)
SELECT payment_id FROM done;

-- leases_of_refunds: who had these refunds last
SELECT j.refund_id, j.lease FROM unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, refund_id)
CROSS JOIN LATERAL (SELECT * FROM refund_jobs found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.refund_id = item.refund_id LIMIT 1) j;

-- reschedule_refunds: come back later, unless someone else is at it; says who had it last
UPDATE refund_jobs j SET run_at = item.run_at, held = false
FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::integer[])
  AS item (legal_entity_id, refund_id, run_at, lease)
WHERE j.legal_entity_id = item.legal_entity_id AND j.refund_id = item.refund_id
  AND (j.lease = item.lease OR NOT j.held OR j.run_at <= $5)
RETURNING j.refund_id, j.lease;

-- remove_refund_jobs: these refunds need nothing any more
DELETE FROM refund_jobs j
USING unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, refund_id)
WHERE j.legal_entity_id = item.legal_entity_id AND j.refund_id = item.refund_id;

-- keep_refund_calls: sends that changed nothing, for explain
UPDATE refunds r SET
  calls = CASE WHEN jsonb_array_length(r.calls) < $4 THEN r.calls || item.call ELSE r.calls END
FROM unnest($1::uuid[], $2::uuid[], $3::jsonb[]) AS item (legal_entity_id, refund_id, call)
WHERE r.legal_entity_id = item.legal_entity_id AND r.refund_id = item.refund_id;

-- refunds_due: a row if something is due in these buckets; the bell of a worker asks
SELECT FROM refund_jobs WHERE bucket = ANY ($1::smallint[]) AND run_at <= $2
