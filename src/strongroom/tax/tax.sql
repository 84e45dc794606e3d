-- add_calculation: what is to be calculated, with its event and its job, due at once
WITH new_calculation AS (
  INSERT INTO tax_calculations (legal_entity_id, calculation_id, version, status, currency, sealed,
    gateway, gateway_account_id, digest_salt, created_at, updated_at)
  VALUES ($1, $2, 1, 'processing', $3, $4, $5, $6, $7, $8, $8)
  RETURNING legal_entity_id, calculation_id
), new_event AS (
  INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest, payload)
  SELECT legal_entity_id, calculation_id, 1, 'tax_calculation.asked', $9, $8, $10, $11
  FROM new_calculation
)
INSERT INTO tax_jobs (legal_entity_id, calculation_id, bucket, run_at)
SELECT legal_entity_id, calculation_id, $12, $8 FROM new_calculation;

-- calculations_by_id: rows as they now are, without what was asked
SELECT c.legal_entity_id, c.calculation_id, c.version, c.status, c.status_reason, c.currency,
  c.total_minor, c.exclusive_minor, c.inclusive_minor, c.lines, c.gateway, c.gateway_account_id,
  c.gateway_object_id, c.expires_at, c.digest_salt, c.created_at, c.updated_at
FROM unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, calculation_id)
CROSS JOIN LATERAL (SELECT found.legal_entity_id, found.calculation_id, found.version,
    found.status, found.status_reason, found.currency, found.total_minor, found.exclusive_minor,
    found.inclusive_minor, found.lines, found.gateway, found.gateway_account_id,
    found.gateway_object_id, found.expires_at, found.digest_salt, found.created_at,
    found.updated_at
  FROM tax_calculations found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.calculation_id = item.calculation_id LIMIT 1) c;

-- asked_of: what was asked, sealed
SELECT c.sealed FROM tax_calculations c WHERE c.legal_entity_id = $1 AND c.calculation_id = $2;

-- settle_calculation: what the gateway answered; what was asked of it goes
WITH done AS (
  UPDATE tax_calculations c SET version = $3, status = $4, status_reason = $5, sealed = NULL,
    total_minor = $6, exclusive_minor = $7, inclusive_minor = $8, lines = $9,
    gateway_object_id = $10, expires_at = $11, updated_at = $12
  WHERE c.legal_entity_id = $1 AND c.calculation_id = $2 AND c.version = $3 - 1
  RETURNING c.legal_entity_id, c.calculation_id
), new_event AS (
  INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest, payload)
  SELECT legal_entity_id, calculation_id, $3, $13, $14, $12, $15, $16 FROM done
)
SELECT calculation_id FROM done;

-- claim_calculations: payments take the calculations that they name, each with a job; one that is
-- taken comes not back, unless its payment can take no money any more
WITH item AS MATERIALIZED (
  SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::smallint[], $5::timestamptz[])
  AS item (legal_entity_id, calculation_id, payment_id, bucket, created_at)
), won AS (
  INSERT INTO payment_taxes AS t (legal_entity_id, calculation_id, payment_id, created_at)
  SELECT legal_entity_id, calculation_id, payment_id, created_at FROM item
  ORDER BY legal_entity_id, calculation_id
  ON CONFLICT (legal_entity_id, calculation_id) DO UPDATE
  SET payment_id = excluded.payment_id, created_at = excluded.created_at
  WHERE (SELECT (SELECT r.payment_id FROM merchant_references r
      WHERE r.legal_entity_id = p.legal_entity_id
        AND r.merchant_reference = p.merchant_reference) IS DISTINCT FROM p.payment_id
    FROM payments p
    WHERE p.legal_entity_id = t.legal_entity_id AND p.payment_id = t.payment_id)
  RETURNING t.payment_id
), job AS (
  INSERT INTO tax_jobs AS j (legal_entity_id, calculation_id, bucket, run_at)
  SELECT legal_entity_id, calculation_id, bucket, created_at FROM item
  WHERE (payment_id IN (SELECT payment_id FROM won)) IS TRUE
  ORDER BY legal_entity_id, calculation_id
  ON CONFLICT (legal_entity_id, calculation_id) DO UPDATE
  SET run_at = excluded.run_at, lease = j.lease + 1, tries = 0
)
SELECT payment_id FROM won;

-- calculations_held: which payments have these calculations
SELECT t.legal_entity_id, t.calculation_id, t.payment_id
FROM unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, calculation_id)
CROSS JOIN LATERAL (SELECT * FROM payment_taxes found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.calculation_id = item.calculation_id LIMIT 1) t;

-- calculation_of_payment: which calculation a payment is taxed by
SELECT t.calculation_id FROM payment_taxes t WHERE t.legal_entity_id = $1 AND t.payment_id = $2;

-- transactions_of: what was reported of a calculation, and is to be
SELECT * FROM tax_transactions t WHERE t.legal_entity_id = $1 AND t.calculation_id = $2
ORDER BY t.legal_entity_id, t.calculation_id, t.created_at, t.source_id, t.kind;

-- claim_tax_jobs: take what is due in these buckets; run_at becomes the end of the lease
WITH due AS MATERIALIZED (
  SELECT found.legal_entity_id, found.calculation_id
  FROM unnest($1::smallint[]) AS served (bucket)
  CROSS JOIN LATERAL (
    SELECT j.legal_entity_id, j.calculation_id FROM tax_jobs j
    WHERE j.bucket = served.bucket AND j.run_at <= $2
    ORDER BY j.run_at LIMIT $3 FOR UPDATE SKIP LOCKED
  ) found
  LIMIT $3
)
UPDATE tax_jobs j SET run_at = $4, lease = j.lease + 1, tries = j.tries + 1
FROM due WHERE j.legal_entity_id = due.legal_entity_id AND j.calculation_id = due.calculation_id
RETURNING j.legal_entity_id, j.calculation_id, j.lease, j.tries;

-- tax_later: come back at this moment, unless somebody else is at it
UPDATE tax_jobs j SET run_at = $4, tries = CASE WHEN $5 THEN 0 ELSE j.tries END
WHERE j.legal_entity_id = $1 AND j.calculation_id = $2 AND j.lease = $3;

-- tax_over: nothing is left to be done, as long as nobody else is at it
DELETE FROM tax_jobs j WHERE j.legal_entity_id = $1 AND j.calculation_id = $2 AND j.lease = $3;

-- open_transaction: before it is sent; what was opened before stays
INSERT INTO tax_transactions (legal_entity_id, calculation_id, source_id, kind, status,
  amount_minor, opened_at, created_at, updated_at)
VALUES ($1, $2, $3, $4, 'open', $5, $6, $6, $6)
ON CONFLICT DO NOTHING;

-- reopen_transaction: under another key from now on
UPDATE tax_transactions t SET opened_at = $5, updated_at = $5
WHERE t.legal_entity_id = $1 AND t.calculation_id = $2 AND t.source_id = $3 AND t.kind = $4
  AND t.status = 'open';

-- settle_transaction: how a report has ended, in its row and in its payment's history
WITH ended AS (
  UPDATE tax_transactions t SET status = $9, status_reason = $10, gateway_object_id = $11,
    updated_at = $4
  WHERE t.legal_entity_id = $1 AND t.calculation_id = $12 AND t.source_id = $13 AND t.kind = $14
    AND t.status = 'open'
  RETURNING t.source_id
), done AS (
  UPDATE payments p SET version = $3, updated_at = $4
  WHERE p.legal_entity_id = $1 AND p.payment_id = $2 AND p.version = $3 - 1
    AND (SELECT count(*) FROM ended) = 1
  RETURNING p.payment_id
), new_event AS (
  INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest,
    row_format, payload)
  SELECT $1, payment_id, $3, $5, $6, $4, $7, 4, $8 FROM done
)
SELECT payment_id FROM done;

-- count_stale_calculations: how many questions of one entity an older key seals
SELECT count(*) FROM tax_calculations
WHERE legal_entity_id = $1 AND sealed IS NOT NULL AND substring(sealed, 4, 4) < $2;

-- stale_calculations: those that an older key seals, kept from others until the commit
SELECT calculation_id AS row_id, sealed FROM tax_calculations
WHERE legal_entity_id = $1 AND sealed IS NOT NULL AND substring(sealed, 4, 4) < $2 FOR UPDATE;

-- reseal_calculation: the same question under another key
UPDATE tax_calculations SET sealed = $3 WHERE legal_entity_id = $1 AND calculation_id = $2;

-- taxes_due: a row if something is due in these buckets; the bell of a worker asks
SELECT FROM tax_jobs WHERE bucket = ANY ($1::smallint[]) AND run_at <= $2
