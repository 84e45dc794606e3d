-- client_token: the last one that was made for a link at an account
SELECT sealed, made_at FROM client_tokens
WHERE legal_entity_id = $1 AND payment_id = $2 AND gateway_account_id = $3;

-- ask_client_token: once at a time, after a rest, when the last one is old, and so often at most
INSERT INTO client_tokens AS t (legal_entity_id, payment_id, gateway_account_id, currency, bucket,
  asked_at, run_at)
VALUES ($1, $2, $3, $4, $5, $6, $6)
ON CONFLICT (legal_entity_id, payment_id, gateway_account_id) DO UPDATE
SET asked = t.asked + 1, asked_at = excluded.asked_at, run_at = excluded.run_at, tries = 0
WHERE t.run_at IS NULL AND t.asked < $7 AND t.asked_at <= $8
  AND (t.made_at IS NULL OR t.made_at <= $9);

-- claim_client_tokens: take what is due in these buckets; run_at becomes the end of the lease
WITH due AS MATERIALIZED (
  SELECT found.legal_entity_id, found.payment_id, found.gateway_account_id
  FROM unnest($1::smallint[]) AS served (bucket)
  CROSS JOIN LATERAL (
    SELECT t.legal_entity_id, t.payment_id, t.gateway_account_id FROM client_tokens t
    WHERE t.bucket = served.bucket AND t.run_at <= $2
    ORDER BY t.run_at LIMIT greatest($3 / 4, 1) FOR UPDATE SKIP LOCKED
  ) found
  LIMIT $3
)
UPDATE client_tokens t SET run_at = $4, lease = t.lease + 1, tries = t.tries + 1
FROM due WHERE t.legal_entity_id = due.legal_entity_id AND t.payment_id = due.payment_id
  AND t.gateway_account_id = due.gateway_account_id
RETURNING t.legal_entity_id, t.payment_id, t.gateway_account_id, t.currency, t.lease, t.tries;

-- keep_client_token: the one that was made, if the lease is still ours
UPDATE client_tokens SET sealed = $5, made_at = $6, run_at = NULL
WHERE legal_entity_id = $1 AND payment_id = $2 AND gateway_account_id = $3 AND lease = $4;

-- put_off_client_token: when to ask again, or that nobody does
UPDATE client_tokens SET run_at = $5
WHERE legal_entity_id = $1 AND payment_id = $2 AND gateway_account_id = $3 AND lease = $4;

-- count_stale_client_tokens: those that an older key seals
SELECT count(*) FROM client_tokens
WHERE legal_entity_id = $1 AND substring(sealed FROM 4 FOR 4) < $2;

-- drop_stale_client_tokens: they are good for a day, and a page asks for another
DELETE FROM client_tokens
WHERE legal_entity_id = $1 AND substring(sealed FROM 4 FOR 4) < $2;

-- client_tokens_due: a row if something is due in these buckets; the bell of a worker asks
SELECT FROM client_tokens WHERE bucket = ANY ($1::smallint[]) AND run_at <= $2
