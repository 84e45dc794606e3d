-- entities_served: the legal entities of these buckets
SELECT legal_entity_id FROM directory.legal_entities WHERE bucket = ANY ($1::smallint[]);

-- begin_lists: the lists of each account in use at these gateways that are not looked through yet;
-- what is older than the account is here is nothing of ours
INSERT INTO settlement_looks AS l (legal_entity_id, gateway_account_id, noun, gateway_object_id,
  bucket, run_at, seen_until)
SELECT a.legal_entity_id, a.gateway_account_id, item.noun, '', e.bucket, $4, a.created_at
FROM unnest($2::text[], $3::text[]) AS item (gateway, noun)
CROSS JOIN LATERAL (SELECT found.legal_entity_id, found.gateway_account_id, found.created_at
  FROM gateway_accounts found
  WHERE found.legal_entity_id = ANY ($1::uuid[]) AND found.gateway = item.gateway) a
CROSS JOIN LATERAL (SELECT found.bucket FROM directory.legal_entities found
  WHERE found.legal_entity_id = a.legal_entity_id LIMIT 1) e
ON CONFLICT (legal_entity_id, gateway_account_id, noun, gateway_object_id) DO UPDATE
SET seen_until = excluded.seen_until WHERE l.seen_until IS NULL;

-- claim_looks: take what is due in these buckets; run_at becomes the end of the lease
WITH due AS MATERIALIZED (
  SELECT found.legal_entity_id, found.gateway_account_id, found.noun, found.gateway_object_id
  FROM unnest($1::smallint[]) AS served (bucket)
  CROSS JOIN LATERAL (
    SELECT l.legal_entity_id, l.gateway_account_id, l.noun, l.gateway_object_id
    FROM settlement_looks l
    WHERE l.bucket = served.bucket AND l.run_at <= $2
    ORDER BY l.run_at LIMIT $3 FOR UPDATE SKIP LOCKED
  ) found
  LIMIT $3
)
UPDATE settlement_looks l SET run_at = $4, lease = l.lease + 1, tries = l.tries + 1
FROM due
WHERE l.legal_entity_id = due.legal_entity_id AND l.gateway_account_id = due.gateway_account_id
  AND l.noun = due.noun AND l.gateway_object_id = due.gateway_object_id
RETURNING l.legal_entity_id, l.gateway_account_id, l.noun, l.gateway_object_id, l.bucket, l.lease,
  l.tries, l.wanted, l.gateway_event_id, l.seen_until;

-- ask_for_looks: look at these now, for a webhook told of them; also when somebody is just at it
INSERT INTO settlement_looks AS l (legal_entity_id, gateway_account_id, noun, gateway_object_id,
  bucket, run_at, gateway_event_id)
SELECT DISTINCT ON (legal_entity_id, gateway_account_id, noun, gateway_object_id)
  legal_entity_id, gateway_account_id, noun, gateway_object_id, bucket, $7::timestamptz,
  gateway_event_id
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::smallint[], $6::text[])
  AS item (legal_entity_id, gateway_account_id, noun, gateway_object_id, bucket, gateway_event_id)
ORDER BY legal_entity_id, gateway_account_id, noun, gateway_object_id, gateway_event_id DESC
ON CONFLICT (legal_entity_id, gateway_account_id, noun, gateway_object_id) DO UPDATE
SET wanted = l.wanted + 1, gateway_event_id = excluded.gateway_event_id,
  run_at = least(l.run_at, excluded.run_at);

-- look_at_new: look at these of a list that nobody has looked at yet
INSERT INTO settlement_looks (legal_entity_id, gateway_account_id, noun, gateway_object_id, bucket,
  run_at)
SELECT $1, $2, $3, object_id, $5, $6 FROM unnest($4::text[]) AS item (object_id)
ORDER BY object_id
ON CONFLICT DO NOTHING;

-- hold_look: whether the look is still ours, kept from others until the commit
SELECT l.wanted FROM settlement_looks l
WHERE l.legal_entity_id = $1 AND l.gateway_account_id = $2 AND l.noun = $3
  AND l.gateway_object_id = $4 AND l.lease = $5 FOR UPDATE;

-- end_look: when to look again, at once where it was wanted meanwhile; tries begin anew
UPDATE settlement_looks l SET reason = $8, seen_until = coalesce($9, l.seen_until),
  tries = CASE WHEN $10 THEN l.tries ELSE 0 END,
  run_at = CASE WHEN l.wanted = $6 THEN $7 ELSE $11::timestamptz END
WHERE l.legal_entity_id = $1 AND l.gateway_account_id = $2 AND l.noun = $3
  AND l.gateway_object_id = $4 AND l.lease = $5;

-- known_disputes: which of these the account has shown us before
SELECT d.gateway_object_id FROM disputes d
WHERE d.legal_entity_id = $1 AND d.gateway_account_id = $2
  AND d.gateway_object_id = ANY ($3::text[]);

-- park_hint: the webhook that named what is nothing of its account's
UPDATE webhook_events e SET state = 'parked', reason = $4, ended_at = $5
WHERE e.legal_entity_id = $1 AND e.gateway_account_id = $2 AND e.gateway_event_id = $3;

-- hinted_money: what that webhook said of amount and currency
SELECT e.amount_minor, e.currency FROM webhook_events e
WHERE e.legal_entity_id = $1 AND e.gateway_account_id = $2 AND e.gateway_event_id = $3;

-- looks_due: a row if something is due in these buckets; the bell of a worker asks
SELECT FROM settlement_looks WHERE bucket = ANY ($1::smallint[]) AND run_at <= $2
