-- claim: take what is due in these buckets, oldest first; run_at becomes the end of the lease
WITH due AS MATERIALIZED (
  SELECT found.legal_entity_id, found.payment_id
  FROM unnest($1::smallint[]) AS served (bucket)
  CROSS JOIN LATERAL (
    SELECT j.legal_entity_id, j.payment_id FROM jobs j
    WHERE j.bucket = served.bucket AND j.run_at <= $2
    ORDER BY j.run_at LIMIT $3 FOR UPDATE SKIP LOCKED
  ) found
  LIMIT $3
)
UPDATE jobs j SET run_at = $4, held = true, lease = j.lease + 1, tries = j.tries + 1
FROM due WHERE j.legal_entity_id = due.legal_entity_id AND j.payment_id = due.payment_id
RETURNING j.legal_entity_id, j.payment_id, j.lease, j.tries;

-- read_attempts: the attempt that counts now, of each payment that has one
SELECT a.* FROM unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, payment_id)
CROSS JOIN LATERAL (SELECT * FROM payments found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.payment_id = item.payment_id LIMIT 1) p
CROSS JOIN LATERAL (SELECT * FROM attempts found
  WHERE found.legal_entity_id = p.legal_entity_id AND found.payment_id = p.payment_id
    AND found.attempt_no = p.attempt_no LIMIT 1) a;

-- apply: write decisions; each only if the payment's version is still the one decided on
WITH item AS MATERIALIZED (
  SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::text[], $5::text[], $6::text[],
    $7::bigint[], $8::bigint[], $9::timestamptz[], $10::integer[], $11::text[], $12::text[],
    $13::jsonb[], $14::timestamptz[], $15::text[], $16::bytea[], $17::bytea[], $18::text[],
    $19::timestamptz[], $20::boolean[], $21::integer[], $22::text[], $23::uuid[], $24::text[],
    $25::jsonb[], $26::jsonb[])
  AS item (legal_entity_id, payment_id, version, status, status_reason, review, captured_minor,
    capture_minor, capture_before, attempt_no, closing, closing_reason, next_action, updated_at,
    kind, row_digest, payload, job, run_at, release, lease, gateway, gateway_account_id,
    instrument_token, ways, decline)
), done AS (
  UPDATE payments p SET version = item.version, status = item.status,
    status_reason = item.status_reason, review = item.review,
    captured_minor = item.captured_minor, capture_minor = item.capture_minor,
    capture_before = item.capture_before, attempt_no = item.attempt_no, closing = item.closing,
    closing_reason = item.closing_reason, next_action = item.next_action,
    updated_at = item.updated_at, gateway = item.gateway,
    gateway_account_id = item.gateway_account_id, instrument_token = item.instrument_token,
    ways = item.ways, decline = item.decline
  FROM item
  WHERE p.legal_entity_id = item.legal_entity_id AND p.payment_id = item.payment_id
    AND p.version = item.version - 1
  RETURNING p.legal_entity_id, p.payment_id
), applied AS MATERIALIZED (
  SELECT * FROM item WHERE (payment_id IN (SELECT payment_id FROM done)) IS TRUE
), new_event AS (
  INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest,
    row_format, payload)
  SELECT legal_entity_id, payment_id, version, kind, $27, updated_at, row_digest, 4, payload
  FROM applied
), job_over AS (
  DELETE FROM jobs j USING applied
  WHERE applied.job = 'rest' AND j.legal_entity_id = applied.legal_entity_id
    AND j.payment_id = applied.payment_id
), job_later AS (
  UPDATE jobs j SET run_at = applied.run_at, held = false FROM applied
  WHERE applied.job = 'schedule' AND j.legal_entity_id = applied.legal_entity_id
    AND j.payment_id = applied.payment_id
    AND (j.lease = applied.lease OR NOT j.held OR j.run_at <= applied.updated_at)
), reference_free AS (
  DELETE FROM merchant_references r USING applied
  CROSS JOIN LATERAL (SELECT * FROM payments found
    WHERE found.legal_entity_id = applied.legal_entity_id
      AND found.payment_id = applied.payment_id LIMIT 1) p
  WHERE applied.release AND r.legal_entity_id = p.legal_entity_id
    AND r.merchant_reference = p.merchant_reference AND r.payment_id = p.payment_id
), reference_held AS (
  INSERT INTO merchant_references (legal_entity_id, merchant_reference, payment_id)
  SELECT p.legal_entity_id, p.merchant_reference, p.payment_id
  FROM applied
  CROSS JOIN LATERAL (SELECT * FROM payments found
    WHERE found.legal_entity_id = applied.legal_entity_id
      AND found.payment_id = applied.payment_id LIMIT 1) p
  WHERE applied.review IS NOT NULL
  ON CONFLICT DO NOTHING
)
SELECT payment_id FROM applied;

-- open_attempts: commit what is about to be sent, before it is sent; what was opened before is not
INSERT INTO attempts (legal_entity_id, payment_id, attempt_no, kind, state, gateway,
  gateway_account_id, gateway_key, staged, amount_minor, currency, parameters, opened_at)
SELECT legal_entity_id, payment_id, attempt_no, kind, 'open', gateway, gateway_account_id,
  gateway_key, staged, amount_minor, currency, parameters, $12
FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::text[], $5::text[], $6::uuid[], $7::text[],
  $8::boolean[], $9::bigint[], $10::text[], $11::jsonb[])
AS item (legal_entity_id, payment_id, attempt_no, kind, gateway, gateway_account_id, gateway_key,
  staged, amount_minor, currency, parameters)
ON CONFLICT DO NOTHING RETURNING payment_id;

-- settle_attempts: what a gateway's answer leaves in the attempt; what has an id was perhaps sent,
-- and an id that is known stays
UPDATE attempts a SET state = coalesce(item.state, a.state),
  decline = coalesce(item.decline, a.decline), raw_code = coalesce(item.raw_code, a.raw_code),
  gateway_object_id = coalesce(a.gateway_object_id, item.object_id),
  calls = CASE WHEN jsonb_array_length(a.calls) < $10 THEN a.calls || item.call ELSE a.calls END,
  settled_at = CASE WHEN item.state IS NULL THEN a.settled_at ELSE $9 END
FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::text[], $5::text[], $6::text[],
  $7::jsonb[], $8::text[])
  AS item (legal_entity_id, payment_id, attempt_no, state, decline, raw_code, call, object_id)
WHERE a.legal_entity_id = item.legal_entity_id AND a.payment_id = item.payment_id
  AND a.attempt_no = item.attempt_no
  AND (item.state IS DISTINCT FROM 'not_sent' OR a.gateway_object_id IS NULL)
RETURNING a.payment_id;

-- commit_object_ids: the gateway's object, once, while its payment still wants to be sent
UPDATE attempts a SET gateway_object_id = item.object_id, calls = a.calls || item.call
FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::text[], $5::jsonb[])
  AS item (legal_entity_id, payment_id, attempt_no, object_id, call)
CROSS JOIN LATERAL (SELECT * FROM payments found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.payment_id = item.payment_id LIMIT 1) p
WHERE a.legal_entity_id = item.legal_entity_id AND a.payment_id = item.payment_id
  AND a.attempt_no = item.attempt_no AND a.state = 'open' AND a.gateway_object_id IS NULL
  AND p.status = 'processing' AND p.closing IS NULL AND p.review IS NULL
  AND p.attempt_no = a.attempt_no
RETURNING a.payment_id, a.attempt_no, a.gateway_object_id;

-- reschedule: nothing changed; come back later, unless someone else is at it
UPDATE jobs j SET run_at = item.run_at, held = false
FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::integer[])
  AS item (legal_entity_id, payment_id, run_at, lease)
WHERE j.legal_entity_id = item.legal_entity_id AND j.payment_id = item.payment_id
  AND (j.lease = item.lease OR NOT j.held OR j.run_at <= $5);

-- remove_jobs: these payments need nothing any more
DELETE FROM jobs j USING unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, payment_id)
WHERE j.legal_entity_id = item.legal_entity_id AND j.payment_id = item.payment_id;

-- that_save: of these payments, those whose instruments are to be saved by paying
SELECT s.payment_id
FROM unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, payment_id)
CROSS JOIN LATERAL (SELECT found.payment_id FROM payment_savings found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.payment_id = item.payment_id LIMIT 1) s;

-- payments_due: a row if something is due in these buckets; the bell of a worker asks
SELECT FROM jobs WHERE bucket = ANY ($1::smallint[]) AND run_at <= $2
