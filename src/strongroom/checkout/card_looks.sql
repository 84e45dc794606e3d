-- lock_link: one asks at a time for what a link's customer brings
SELECT payment_id FROM checkout_links WHERE legal_entity_id = $1 AND payment_id = $2 FOR UPDATE;

-- ask_card_look: once for a token of a link; again, after a rest, where nobody could say
INSERT INTO card_looks AS c (legal_entity_id, payment_id, token, gateway_account_id, bucket,
  asked_at, run_at)
VALUES ($1, $2, $3, $4, $5, $6, $6)
ON CONFLICT (legal_entity_id, payment_id, token) DO UPDATE
SET asked_at = excluded.asked_at, run_at = excluded.run_at, tries = 0
WHERE c.run_at IS NULL AND c.seen_at IS NULL AND c.asked_at <= $7
RETURNING payment_id;

-- count_card_looks: tokens of a link that were asked for since then
SELECT count(*) FROM card_looks WHERE legal_entity_id = $1 AND payment_id = $2 AND asked_at > $3;

-- card_look: what came of it; it is over when nobody is to ask any more
SELECT run_at, seen_at, card FROM card_looks
WHERE legal_entity_id = $1 AND payment_id = $2 AND token = $3 AND gateway_account_id = $4;

-- card_look_under_way: whether a try of the link may still begin by itself
SELECT EXISTS (SELECT FROM card_looks c
  JOIN checkout_links l ON l.legal_entity_id = c.legal_entity_id AND l.payment_id = c.payment_id
  WHERE c.legal_entity_id = $1 AND c.payment_id = $2
  AND ((c.run_at IS NOT NULL AND c.asked_at > $3)
    OR c.seen_at > greatest($4, coalesce(l.counted_at, $4))));

-- claim_card_looks: what is due in these buckets; run_at becomes the end of the lease
-- The newest first: nobody waits for old ones any more. No bucket takes all the room.
WITH due AS MATERIALIZED (
  SELECT found.legal_entity_id, found.payment_id, found.token
  FROM unnest($1::smallint[]) AS served (bucket)
  CROSS JOIN LATERAL (
    SELECT c.legal_entity_id, c.payment_id, c.token FROM card_looks c
    WHERE c.bucket = served.bucket AND c.run_at <= $2
    ORDER BY c.run_at DESC LIMIT greatest($3 / 4, 1) FOR UPDATE SKIP LOCKED
  ) found
  LIMIT $3
)
UPDATE card_looks c SET run_at = $4, lease = c.lease + 1, tries = c.tries + 1
FROM due WHERE c.legal_entity_id = due.legal_entity_id AND c.payment_id = due.payment_id
  AND c.token = due.token
RETURNING c.legal_entity_id, c.payment_id, c.token, c.gateway_account_id, c.lease, c.tries,
  c.asked_at;

-- keep_card_look: what was seen, if the lease is still ours
UPDATE card_looks SET seen_at = $5, card = $6, run_at = NULL
WHERE legal_entity_id = $1 AND payment_id = $2 AND token = $3 AND lease = $4;

-- put_off_card_look: when to ask again, or that nobody does
UPDATE card_looks SET run_at = $5
WHERE legal_entity_id = $1 AND payment_id = $2 AND token = $3 AND lease = $4;

-- card_looks_due: a row if something is due in these buckets; the bell of a worker asks
SELECT FROM card_looks WHERE bucket = ANY ($1::smallint[]) AND run_at <= $2
