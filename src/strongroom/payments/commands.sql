-- lock_payments: rows as they now are, locked against a second decision, in the order given
SELECT p.* FROM unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, payment_id)
CROSS JOIN LATERAL (SELECT * FROM payments found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.payment_id = item.payment_id LIMIT 1 FOR UPDATE) p;

-- lock_free_payments: as lock_payments, but for those that somebody else has locked
SELECT p.payment_id FROM unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, payment_id)
CROSS JOIN LATERAL (SELECT * FROM payments found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.payment_id = item.payment_id LIMIT 1 FOR UPDATE SKIP LOCKED) p;

-- claim_keys: the keys of operations on existing payments; a key that is held comes not back
INSERT INTO idempotency_keys AS k
  (legal_entity_id, idempotency_key, operation, fingerprint, payment_id, refund_id, created_at)
SELECT legal_entity_id, idempotency_key, operation, fingerprint, payment_id, refund_id, created_at
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::uuid[], $6::uuid[],
  $7::timestamptz[]) AS item (legal_entity_id, idempotency_key, operation, fingerprint, payment_id,
  refund_id, created_at)
ORDER BY legal_entity_id, idempotency_key
ON CONFLICT DO NOTHING RETURNING k.idempotency_key;

-- command: what commands change in payments, each with its event
WITH item AS MATERIALIZED (
  SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::text[], $5::text[], $6::text[],
    $7::text[], $8::jsonb[], $9::text[], $10::uuid[], $11::text[], $12::text[], $13::bigint[],
    $14::bigint[], $15::timestamptz[], $16::text[], $17::text[], $18::bytea[], $19::bytea[],
    $20::jsonb[])
  AS item (legal_entity_id, payment_id, version, status, status_reason, closing, closing_reason,
    next_action, gateway, gateway_account_id, instrument_token, return_url, capture_minor,
    refunding_minor, updated_at, kind, actor, row_digest, payload, ways)
), done AS (
  UPDATE payments p SET version = item.version, status = item.status,
    status_reason = item.status_reason, closing = item.closing,
    closing_reason = item.closing_reason, next_action = item.next_action, gateway = item.gateway,
    gateway_account_id = item.gateway_account_id, instrument_token = item.instrument_token,
    return_url = item.return_url, capture_minor = item.capture_minor,
    refunding_minor = item.refunding_minor, updated_at = item.updated_at, ways = item.ways
  FROM item
  WHERE p.legal_entity_id = item.legal_entity_id AND p.payment_id = item.payment_id
    AND p.version = item.version - 1
  RETURNING p.legal_entity_id, p.payment_id
), new_event AS (
  INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest,
    row_format, payload)
  SELECT legal_entity_id, payment_id, version, kind, actor, updated_at, row_digest, 4, payload
  FROM item
  WHERE ((legal_entity_id, payment_id) IN (SELECT legal_entity_id, payment_id FROM done)) IS TRUE
)
SELECT payment_id FROM done;

-- run_jobs_at: look at payments at these moments, unless someone is at them
INSERT INTO jobs AS j (legal_entity_id, payment_id, bucket, run_at)
SELECT legal_entity_id, payment_id, bucket, run_at
FROM unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::timestamptz[])
  AS item (legal_entity_id, payment_id, bucket, run_at)
ON CONFLICT (legal_entity_id, payment_id) DO UPDATE SET run_at = excluded.run_at
WHERE NOT j.held OR j.run_at <= excluded.run_at;

-- add_refunds: refunds with their jobs, due at once
WITH item AS MATERIALIZED (
  SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::text[], $6::text[],
    $7::jsonb[], $8::text[], $9::uuid[], $10::text[], $11::bytea[], $12::timestamptz[],
    $13::smallint[])
  AS item (legal_entity_id, refund_id, payment_id, amount_minor, currency, reason, metadata,
    gateway, gateway_account_id, gateway_key, digest_salt, created_at, bucket)
), new_refund AS (
  INSERT INTO refunds (legal_entity_id, refund_id, payment_id, status, amount_minor, currency,
    reason, metadata, gateway, gateway_account_id, gateway_key, digest_salt, created_at, updated_at)
  SELECT legal_entity_id, refund_id, payment_id, 'processing', amount_minor, currency, reason,
    metadata, gateway, gateway_account_id, gateway_key, digest_salt, created_at, created_at
  FROM item
)
INSERT INTO refund_jobs (legal_entity_id, refund_id, bucket, run_at)
SELECT legal_entity_id, refund_id, bucket, created_at FROM item;

-- refunds_by_id: rows as they now are
SELECT r.* FROM unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, refund_id)
CROSS JOIN LATERAL (SELECT * FROM refunds found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.refund_id = item.refund_id LIMIT 1) r;

-- list_refunds: newest first, below the cursor
SELECT * FROM refunds WHERE legal_entity_id = $1 AND refund_id < $2
ORDER BY legal_entity_id DESC, refund_id DESC LIMIT $3;

-- list_refunds_of_payment: newest first, below the cursor, of one payment
SELECT * FROM refunds WHERE legal_entity_id = $1 AND payment_id = $4 AND refund_id < $2
ORDER BY legal_entity_id DESC, payment_id DESC, refund_id DESC LIMIT $3;
