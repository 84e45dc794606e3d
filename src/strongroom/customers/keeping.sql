-- want_kept: payments whose instruments are to be saved; written before the payments are
INSERT INTO payment_savings (legal_entity_id, payment_id, payment_method_id, customer_id, bucket,
  run_at, created_at)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::smallint[],
  $6::timestamptz[], $7::timestamptz[]);

-- wish_of: for whom what pays a payment is to be saved, and as what
SELECT payment_method_id, customer_id FROM payment_savings
WHERE legal_entity_id = $1 AND payment_id = $2;

-- claim_kept: take what is due in these buckets; run_at becomes the end of the lease
WITH due AS MATERIALIZED (
  SELECT found.legal_entity_id, found.payment_id
  FROM unnest($1::smallint[]) AS served (bucket)
  CROSS JOIN LATERAL (
    SELECT s.legal_entity_id, s.payment_id FROM payment_savings s
    WHERE s.bucket = served.bucket AND s.run_at <= $2
    ORDER BY s.run_at LIMIT $3 FOR UPDATE SKIP LOCKED
  ) found
  LIMIT $3
)
UPDATE payment_savings s SET run_at = $4, lease = s.lease + 1, tries = s.tries + 1
FROM due WHERE s.legal_entity_id = due.legal_entity_id AND s.payment_id = due.payment_id
RETURNING s.legal_entity_id, s.payment_id, s.payment_method_id, s.customer_id, s.lease, s.tries,
  s.created_at;

-- kept_later: look at these payments again at these moments, or never, unless others are at them
UPDATE payment_savings s SET run_at = item.run_at
FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::timestamptz[])
  AS item (legal_entity_id, payment_id, lease, run_at)
WHERE s.legal_entity_id = item.legal_entity_id AND s.payment_id = item.payment_id
  AND s.lease = item.lease
RETURNING s.payment_id;

-- drop_kept: the payment never was
DELETE FROM payment_savings
WHERE legal_entity_id = $1 AND payment_id = $2 AND lease = $3 RETURNING payment_id;

-- drop_consents: of a payment method that never was
DELETE FROM consents WHERE legal_entity_id = $1 AND payment_method_id = $2;

-- add_kept_method: what a payment has paid with becomes a payment method, once
INSERT INTO payment_methods (legal_entity_id, payment_method_id, customer_id, version, status,
  return_url, not_after, digest_salt, created_at, updated_at)
VALUES ($1, $2, $3, 1, 'processing', NULL, $4, $5, $6, $6)
ON CONFLICT DO NOTHING RETURNING payment_method_id;

-- add_kept_token: the gateway's object of the payment says what it has paid with
INSERT INTO payment_method_tokens (legal_entity_id, payment_method_id, gateway_account_id, gateway,
  offered, setup_object)
VALUES ($1, $2, $3, $4, $5, $6);

-- kept_due: a row if something is due in these buckets; the bell of a worker asks
SELECT FROM payment_savings WHERE bucket = ANY ($1::smallint[]) AND run_at <= $2
