-- ask_card_look: once for a token of a link
INSERT INTO card_looks (legal_entity_id, payment_id, token, gateway_account_id, bucket, asked_at,
  run_at)
VALUES ($1, $2, $3, $4, $5, $6, $6)
ON CONFLICT (legal_entity_id, payment_id, token) DO NOTHING RETURNING payment_id;

-- count_card_look: one more of a link, which has so many at most
UPDATE checkout_links SET looks = looks + 1
WHERE legal_entity_id = $1 AND payment_id = $2 AND looks < $3 RETURNING looks;

-- card_look: what came of it; it is over when nobody is to ask any more
SELECT run_at, seen_at, card FROM card_looks
WHERE legal_entity_id = $1 AND payment_id = $2 AND token = $3 AND gateway_account_id = $4;

-- claim_card_looks: take what is due in these buckets; run_at becomes the end of the lease
WITH due AS MATERIALIZED (
  SELECT found.legal_entity_id, found.payment_id, found.token
  FROM unnest($1::smallint[]) AS served (bucket)
  CROSS JOIN LATERAL (
    SELECT c.legal_entity_id, c.payment_id, c.token FROM card_looks c
    WHERE c.bucket = served.bucket AND c.run_at <= $2
    ORDER BY c.run_at LIMIT $3 FOR UPDATE SKIP LOCKED
  ) found
  LIMIT $3
)
UPDATE card_looks c SET run_at = $4, lease = c.lease + 1, tries = c.tries + 1
FROM due WHERE c.legal_entity_id = due.legal_entity_id AND c.payment_id = due.payment_id
  AND c.token = due.token
RETURNING c.legal_entity_id, c.payment_id, c.token, c.gateway_account_id, c.lease, c.tries;

-- keep_card_look: what was seen, if the lease is still ours
UPDATE card_looks SET seen_at = $5, card = $6, run_at = NULL
WHERE legal_entity_id = $1 AND payment_id = $2 AND token = $3 AND lease = $4;

-- put_off_card_look: when to ask again, or that nobody does
UPDATE card_looks SET run_at = $5
WHERE legal_entity_id = $1 AND payment_id = $2 AND token = $3 AND lease = $4;
