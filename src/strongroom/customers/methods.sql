-- add_method: an instrument that is to be saved
INSERT INTO payment_methods (legal_entity_id, payment_method_id, customer_id, version, status,
  return_url, not_after, digest_salt, created_at, updated_at)
VALUES ($1, $2, $3, 1, 'processing', $4, $5, $6, $7, $7);

-- add_method_token: what a gateway calls it, as it was offered
INSERT INTO payment_method_tokens (legal_entity_id, payment_method_id, gateway_account_id, gateway,
  offered)
VALUES ($1, $2, $3, $4, $5);

-- add_method_job: something is to be done for it; who is at it in this moment has its lease no more
INSERT INTO payment_method_jobs AS j (legal_entity_id, payment_method_id, bucket, run_at)
VALUES ($1, $2, $3, $4)
ON CONFLICT (legal_entity_id, payment_method_id)
DO UPDATE SET run_at = excluded.run_at, lease = j.lease + 1;

-- methods_by_id: rows as they now are, each with its token
SELECT m.*, t.gateway_account_id, t.gateway, t.offered, t.setup_object, t.token
FROM unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, payment_method_id)
CROSS JOIN LATERAL (SELECT * FROM payment_methods found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.payment_method_id = item.payment_method_id LIMIT 1) m
CROSS JOIN LATERAL (SELECT * FROM payment_method_tokens found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.payment_method_id = item.payment_method_id LIMIT 1) t;

-- lock_method: the row, which nobody else changes until the commit
SELECT version FROM payment_methods WHERE legal_entity_id = $1 AND payment_method_id = $2
FOR UPDATE;

-- list_methods: of one customer, newest first, below the cursor
SELECT payment_method_id FROM payment_methods
WHERE legal_entity_id = $1 AND customer_id = $2 AND payment_method_id < $3
ORDER BY legal_entity_id DESC, customer_id DESC, payment_method_id DESC LIMIT $4;

-- ask_of_method: what a caller wants of it, a version on
UPDATE payment_methods SET version = $3, status = $4, status_reason = NULL, updated_at = $5
WHERE legal_entity_id = $1 AND payment_method_id = $2 AND version = $3 - 1
RETURNING payment_method_id;

-- agree_of_method: a version on, as its customer has agreed to something
UPDATE payment_methods SET version = $3, updated_at = $4
WHERE legal_entity_id = $1 AND payment_method_id = $2 AND version = $3 - 1;

-- claim_methods: take what is due in these buckets; run_at becomes the end of the lease
WITH due AS MATERIALIZED (
  SELECT found.legal_entity_id, found.payment_method_id
  FROM unnest($1::smallint[]) AS served (bucket)
  CROSS JOIN LATERAL (
    SELECT j.legal_entity_id, j.payment_method_id FROM payment_method_jobs j
    WHERE j.bucket = served.bucket AND j.run_at <= $2
    ORDER BY j.run_at LIMIT $3 FOR UPDATE SKIP LOCKED
  ) found
  LIMIT $3
)
UPDATE payment_method_jobs j SET run_at = $4, lease = j.lease + 1, tries = j.tries + 1
FROM due WHERE j.legal_entity_id = due.legal_entity_id
  AND j.payment_method_id = due.payment_method_id
RETURNING j.legal_entity_id, j.payment_method_id, j.lease, j.tries;

-- settle_method: what a gateway said of it, if its version is still the one that was decided on
UPDATE payment_methods SET version = $3, status = $4, status_reason = $5, sealed = $6,
  next_action = $7, updated_at = $8
WHERE legal_entity_id = $1 AND payment_method_id = $2 AND version = $3 - 1
RETURNING payment_method_id;

-- settle_token: the object that saves it, and the token that came of it
UPDATE payment_method_tokens SET setup_object = $4, token = $5
WHERE legal_entity_id = $1 AND payment_method_id = $2 AND gateway_account_id = $3;

-- method_later: come back at this moment, unless somebody else is at it
UPDATE payment_method_jobs SET run_at = $4, tries = CASE WHEN $5 THEN 0 ELSE tries END
WHERE legal_entity_id = $1 AND payment_method_id = $2 AND lease = $3;

-- method_over: nothing is left to be done, as long as nobody else is at it
DELETE FROM payment_method_jobs
WHERE legal_entity_id = $1 AND payment_method_id = $2 AND lease = $3;

-- open_gateway_customer: before a gateway is asked to make one
INSERT INTO gateway_customers (legal_entity_id, customer_id, gateway_account_id, opened_at)
VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;

-- gateway_customer: whom an account knows the customer as
SELECT gateway_object_id, opened_at FROM gateway_customers
WHERE legal_entity_id = $1 AND customer_id = $2 AND gateway_account_id = $3;

-- reopen_gateway_customer: the gateway may have forgotten the key by now
UPDATE gateway_customers SET opened_at = $4
WHERE legal_entity_id = $1 AND customer_id = $2 AND gateway_account_id = $3
  AND gateway_object_id IS NULL AND opened_at = $5;

-- keep_gateway_customer: the first that comes is it, for good
UPDATE gateway_customers SET gateway_object_id = $4
WHERE legal_entity_id = $1 AND customer_id = $2 AND gateway_account_id = $3
  AND gateway_object_id IS NULL;

-- methods_of_tokens: the payment methods that these gateway accounts know by these tokens
SELECT t.legal_entity_id, t.payment_method_id, t.gateway_account_id, t.token
FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS item (legal_entity_id, gateway_account_id, token)
CROSS JOIN LATERAL (SELECT * FROM payment_method_tokens found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.gateway_account_id = item.gateway_account_id
    AND found.token = item.token LIMIT 1) t;

-- methods_of_setups: these payment methods, where these objects at these accounts do save them
SELECT t.legal_entity_id, t.payment_method_id, t.gateway_account_id, t.setup_object AS token
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[])
  AS item (legal_entity_id, gateway_account_id, token, payment_method_id)
CROSS JOIN LATERAL (SELECT * FROM payment_method_tokens found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.gateway_account_id = item.gateway_account_id
    AND found.payment_method_id = item.payment_method_id
    AND found.setup_object = item.token LIMIT 1) t;

-- ask_for_methods: look at these now; who is at one in this moment has its lease no more
INSERT INTO payment_method_jobs AS j (legal_entity_id, payment_method_id, bucket, run_at)
SELECT legal_entity_id, payment_method_id, bucket, $4
FROM unnest($1::uuid[], $2::uuid[], $3::smallint[])
  AS item (legal_entity_id, payment_method_id, bucket)
ORDER BY legal_entity_id, payment_method_id
ON CONFLICT (legal_entity_id, payment_method_id)
DO UPDATE SET run_at = excluded.run_at, lease = j.lease + 1;

-- adopt_customer: a gateway's customer becomes this one of ours, unless it is one already
INSERT INTO adopted_customers (legal_entity_id, gateway_account_id, gateway_object_id, customer_id,
  adopted_at)
VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING;

-- adopted_customer: which of ours a gateway's customer became
SELECT customer_id FROM adopted_customers
WHERE legal_entity_id = $1 AND gateway_account_id = $2 AND gateway_object_id = $3;

-- methods_due: a row if something is due in these buckets; the bell of a worker asks
SELECT FROM payment_method_jobs WHERE bucket = ANY ($1::smallint[]) AND run_at <= $2
