-- accept_new: payments, jobs and events for keys and references that nobody holds, or an error
-- The main statement runs first, then those before it from the last to the first: what may meet
-- others comes before what cannot, sorted, so that two processes wait for each other in one order.
WITH item AS MATERIALIZED (
  SELECT * FROM unnest($1::routed_payment[]) AS item
), new_event AS (
  INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest,
    row_format, payload)
  SELECT legal_entity_id, payment_id, 1, 'payment.accepted', actor, created_at, row_digest, 4,
    payload
  FROM item
), new_job AS (
  INSERT INTO jobs (legal_entity_id, payment_id, bucket, run_at)
  SELECT legal_entity_id, payment_id, bucket, coalesce(run_at, created_at) FROM item
), new_payment AS (
  INSERT INTO payments (legal_entity_id, payment_id, version, status, amount_minor, captured_minor,
    currency, merchant_reference, description, metadata, return_url, gateway, gateway_account_id,
    instrument_token, attempt_no, not_after, gateway_key_seed, digest_salt, created_at, updated_at,
    capture, ways)
  SELECT legal_entity_id, payment_id, 1, status, amount_minor, 0, currency, merchant_reference,
    description, metadata, return_url, gateway, gateway_account_id, instrument_token, 1, not_after,
    gateway_key_seed, digest_salt, created_at, created_at, capture, ways
  FROM item
), new_texts AS (
  INSERT INTO texts (legal_entity_id, owner_id, sealed)
  SELECT legal_entity_id, payment_id, texts FROM item WHERE texts IS NOT NULL
), new_reference AS (
  INSERT INTO merchant_references (legal_entity_id, merchant_reference, payment_id)
  SELECT legal_entity_id, merchant_reference, payment_id
  FROM item ORDER BY legal_entity_id, merchant_reference
)
INSERT INTO idempotency_keys
  (legal_entity_id, idempotency_key, operation, fingerprint, payment_id, created_at)
SELECT legal_entity_id, idempotency_key, 'payments.create', fingerprint, payment_id, created_at
FROM item ORDER BY legal_entity_id, idempotency_key;

-- accept: claim keys, then references; payment, job and event only for those that won both
-- Sub-selects where joins would read more easily: a join is planned by guesses about sizes, and one
-- that was planned while the tables were empty walks them when they are full.
WITH item AS MATERIALIZED (
  SELECT * FROM unnest($1::routed_payment[]) AS item
), won_key AS (
  INSERT INTO idempotency_keys AS k
    (legal_entity_id, idempotency_key, operation, fingerprint, payment_id, created_at)
  SELECT legal_entity_id, idempotency_key, 'payments.create', fingerprint, payment_id, created_at
  FROM item
  WHERE (SELECT r.payment_id FROM merchant_references r
    WHERE r.legal_entity_id = item.legal_entity_id
      AND r.merchant_reference = item.merchant_reference) IS NULL
  ORDER BY legal_entity_id, idempotency_key
  ON CONFLICT DO NOTHING
  RETURNING k.legal_entity_id, k.payment_id
), won_reference AS (
  INSERT INTO merchant_references AS r (legal_entity_id, merchant_reference, payment_id)
  SELECT item.legal_entity_id, item.merchant_reference, item.payment_id
  FROM item WHERE (item.payment_id IN (SELECT payment_id FROM won_key)) IS TRUE
  ORDER BY item.legal_entity_id, item.merchant_reference
  ON CONFLICT DO NOTHING
  RETURNING r.legal_entity_id, r.payment_id
), won AS MATERIALIZED (
  SELECT * FROM item WHERE (payment_id IN (SELECT payment_id FROM won_reference)) IS TRUE
), new_payment AS (
  INSERT INTO payments (legal_entity_id, payment_id, version, status, amount_minor, captured_minor,
    currency, merchant_reference, description, metadata, return_url, gateway, gateway_account_id,
    instrument_token, attempt_no, not_after, gateway_key_seed, digest_salt, created_at, updated_at,
    capture, ways)
  SELECT legal_entity_id, payment_id, 1, status, amount_minor, 0, currency, merchant_reference,
    description, metadata, return_url, gateway, gateway_account_id, instrument_token, 1, not_after,
    gateway_key_seed, digest_salt, created_at, created_at, capture, ways
  FROM won
), new_texts AS (
  INSERT INTO texts (legal_entity_id, owner_id, sealed)
  SELECT legal_entity_id, payment_id, texts FROM won WHERE texts IS NOT NULL
), new_job AS (
  INSERT INTO jobs (legal_entity_id, payment_id, bucket, run_at)
  SELECT legal_entity_id, payment_id, bucket, coalesce(run_at, created_at) FROM won
), new_event AS (
  INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest,
    row_format, payload)
  SELECT legal_entity_id, payment_id, 1, 'payment.accepted', actor, created_at, row_digest, 4,
    payload
  FROM won
)
SELECT payment_id, payment_id IN (SELECT payment_id FROM won_reference) AS has_reference
FROM won_key;

-- keys_held: what the keys that others hold stand for, with their payments as they now are
SELECT k.idempotency_key, k.operation, k.fingerprint, k.refund_id, k.created_at AS claimed_at, p.*
FROM unnest($1::uuid[], $2::text[]) AS item (legal_entity_id, idempotency_key)
CROSS JOIN LATERAL (SELECT * FROM idempotency_keys found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.idempotency_key = item.idempotency_key LIMIT 1) k
CROSS JOIN LATERAL (SELECT * FROM payments found
  WHERE found.legal_entity_id = k.legal_entity_id AND found.payment_id = k.payment_id LIMIT 1) p;

-- references_held: which payments hold these references
SELECT r.legal_entity_id, r.merchant_reference, r.payment_id
FROM unnest($1::uuid[], $2::text[]) AS item (legal_entity_id, merchant_reference)
CROSS JOIN LATERAL (SELECT * FROM merchant_references found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.merchant_reference = item.merchant_reference LIMIT 1) r;

-- payments_by_id: rows as they now are
SELECT p.* FROM unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, payment_id)
CROSS JOIN LATERAL (SELECT * FROM payments found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.payment_id = item.payment_id LIMIT 1) p;

-- list_payments: newest first, below the cursor; filters are applied by the reader's loop
SELECT * FROM payments
WHERE legal_entity_id = $1 AND payment_id < $2 AND payment_id >= $3
ORDER BY legal_entity_id DESC, payment_id DESC LIMIT $4;

-- list_by_reference: newest first, below the cursor, all payments with this reference
SELECT * FROM payments
WHERE legal_entity_id = $1 AND merchant_reference = $5 AND payment_id < $2 AND payment_id >= $3
ORDER BY legal_entity_id DESC, merchant_reference DESC, payment_id DESC LIMIT $4;

-- history_events: everything that happened to a payment, in order, and where the log has it
SELECT e.version, e.kind, e.actor, e.at, e.row_digest, e.payload, l.index FROM events e
LEFT JOIN LATERAL (SELECT index FROM log_entries found
  WHERE found.legal_entity_id = e.legal_entity_id AND found.subject_id = e.payment_id
    AND found.version = e.version LIMIT 1) l ON true
WHERE e.legal_entity_id = $1 AND e.payment_id = $2 ORDER BY e.version;

-- history_attempts: its attempts with their calls
SELECT * FROM attempts WHERE legal_entity_id = $1 AND payment_id = $2 ORDER BY attempt_no;

-- history_refunds: its refunds with the calls that no event remembers, and what is planned
SELECT r.*, j.run_at, j.tries FROM refunds r
LEFT JOIN LATERAL (SELECT * FROM refund_jobs found
  WHERE found.legal_entity_id = r.legal_entity_id AND found.refund_id = r.refund_id LIMIT 1) j
  ON true
WHERE r.legal_entity_id = $1 AND r.payment_id = $2 ORDER BY r.refund_id;

-- history_job: what is still planned for it
SELECT run_at, lease, tries FROM jobs WHERE legal_entity_id = $1 AND payment_id = $2;
