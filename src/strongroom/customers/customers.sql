-- claim_customer_key: for what is about to be done; no row where somebody holds the key
INSERT INTO customer_keys AS k
  (legal_entity_id, idempotency_key, fingerprint, owner_id, created_at)
VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING k.owner_id;

-- customer_key: what was asked for under this key
SELECT fingerprint, owner_id FROM customer_keys
WHERE legal_entity_id = $1 AND idempotency_key = $2;

-- add_customer: a new one
INSERT INTO customers (legal_entity_id, customer_id, version, sealed, email_index, digest_salt,
  created_at, updated_at)
VALUES ($1, $2, 1, $3, $4, $5, $6, $6);

-- change_customer: the same one, a version on
UPDATE customers SET version = $3, sealed = $4, email_index = $5, updated_at = $6
WHERE legal_entity_id = $1 AND customer_id = $2 AND version = $3 - 1 RETURNING customer_id;

-- erase_customer: nothing is left by which somebody who guesses could be told that it was so
UPDATE customers SET version = $3, email_index = NULL, digest_salt = $4, updated_at = $5
WHERE legal_entity_id = $1 AND customer_id = $2 AND version < $3 RETURNING customer_id;

-- erase_customer_keys: no request that made or changed the customer, or what he had saved, can be
-- tried out against its digest
UPDATE customer_keys k SET fingerprint = $3
WHERE k.legal_entity_id = $1 AND (k.owner_id = $2 OR k.owner_id IN (
  SELECT m.payment_method_id FROM payment_methods m
  WHERE m.legal_entity_id = $1 AND m.customer_id = $2));

-- kind_of_customer_event: what happened last
SELECT kind FROM customer_events WHERE legal_entity_id = $1 AND owner_id = $2 AND version = $3;

-- last_of_customer: the version of the last event, whoever wrote it
SELECT max(version) FROM customer_events WHERE legal_entity_id = $1 AND owner_id = $2;

-- add_customer_event: what happened to a customer
INSERT INTO customer_events (legal_entity_id, owner_id, version, kind, actor, at, row_digest,
  payload)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- customer: a row as it now is
SELECT * FROM customers WHERE legal_entity_id = $1 AND customer_id = $2;

-- lock_customer: the row, which nobody else changes until the commit
SELECT * FROM customers WHERE legal_entity_id = $1 AND customer_id = $2 FOR UPDATE;

-- list_customers: newest first, below the cursor
SELECT * FROM customers WHERE legal_entity_id = $1 AND customer_id < $2
ORDER BY legal_entity_id DESC, customer_id DESC LIMIT $3;

-- customers_by_email: newest first, below the cursor, all that have this address
SELECT * FROM customers WHERE legal_entity_id = $1 AND email_index = $4 AND customer_id < $2
ORDER BY legal_entity_id DESC, email_index DESC, customer_id DESC LIMIT $3;
