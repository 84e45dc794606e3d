-- make_link: the link of a payment; the one before, if any, works no more
INSERT INTO checkout_links AS l (legal_entity_id, payment_id, secret_digest, return_url, expires_at,
  created_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (legal_entity_id, payment_id) DO UPDATE SET secret_digest = excluded.secret_digest,
  expires_at = excluded.expires_at, created_at = excluded.created_at, revoked_at = NULL
RETURNING l.tries;

-- forget_links: those of payments that were made long ago
DELETE FROM checkout_links WHERE legal_entity_id = $1 AND payment_id < $2;

-- forget_client_tokens: those of their links
DELETE FROM client_tokens WHERE legal_entity_id = $1 AND payment_id < $2;

-- forget_card_looks: those at the tokens of their links
DELETE FROM card_looks WHERE legal_entity_id = $1 AND payment_id < $2;

-- link_of_payment: the link that was made for a payment
SELECT payment_id, secret_digest, return_url, tries, expires_at, revoked_at, counted_for
FROM checkout_links WHERE legal_entity_id = $1 AND payment_id = $2;

-- revoke_link: from now on; a second revocation keeps the first moment
UPDATE checkout_links SET revoked_at = coalesce(revoked_at, $3)
WHERE legal_entity_id = $1 AND payment_id = $2 RETURNING payment_id;

-- begin_try: the next try of a link, which one request alone can begin
UPDATE checkout_links SET tries = tries + 1, counted_at = $4, counted_for = $5, counted_card = $6
WHERE legal_entity_id = $1 AND payment_id = $2 AND tries = $3 - 1 AND revoked_at IS NULL
  AND expires_at > $4 AND secret_digest = $7 RETURNING tries;

-- end_counting: money was taken by a link's last try; for whom it was counted, once
WITH counted AS (
  SELECT legal_entity_id, payment_id, counted_at, counted_for, counted_card FROM checkout_links
  WHERE legal_entity_id = $1 AND payment_id = $2 AND counted_for IS NOT NULL FOR UPDATE
), done AS (
  UPDATE checkout_links l SET counted_for = NULL, counted_card = NULL FROM counted
  WHERE l.legal_entity_id = counted.legal_entity_id AND l.payment_id = counted.payment_id
)
SELECT counted_at, counted_for, counted_card FROM counted;

-- payments_of_tries: the payments that a link's tries were made of
SELECT idempotency_key, payment_id FROM idempotency_keys
WHERE legal_entity_id = $1 AND idempotency_key = ANY ($2::text[]);

-- merchant: who is paid
SELECT name FROM directory.legal_entities WHERE legal_entity_id = $1;

-- count_try: one more of this subject since then
INSERT INTO checkout_limits AS l (legal_entity_id, hour, subject, tries) VALUES ($1, $2, $3, 1)
ON CONFLICT (legal_entity_id, hour, subject) DO UPDATE SET tries = l.tries + 1
RETURNING l.tries;

-- tries_of: how many of this subject since then
SELECT tries FROM checkout_limits WHERE legal_entity_id = $1 AND hour = $2 AND subject = $3;

-- uncount_try: a try of this subject took money, so it is held against nobody
UPDATE checkout_limits SET tries = tries - 1
WHERE legal_entity_id = $1 AND hour = $2 AND subject = $3 AND tries > 0;

-- forget_limits: those of times long past
DELETE FROM checkout_limits WHERE legal_entity_id = $1 AND hour < $2;

-- add_report: a breach of the page's policy that a browser told of, counted by day
INSERT INTO checkout_reports AS r (legal_entity_id, day, directive, blocked, reports, first_at,
  last_at)
SELECT $1, $2::date, $3, $4, 1, $5, $5
WHERE (SELECT count(*) FROM checkout_reports found
  WHERE found.legal_entity_id = $1 AND found.day = $2::date) < $6
ON CONFLICT (legal_entity_id, day, directive, blocked) DO UPDATE SET reports = r.reports + 1,
  last_at = excluded.last_at;

-- forget_reports: those of days long past
DELETE FROM checkout_reports WHERE legal_entity_id = $1 AND day < $2::date;
