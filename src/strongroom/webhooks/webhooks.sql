-- store: what came, each once; what was there already comes not back
INSERT INTO webhook_events AS e (legal_entity_id, gateway_account_id, gateway_event_id, bucket,
  kind, object_type, gateway_object_id, known_by, lane, owner_id, attempt_no, amount_minor,
  currency, body_digest, state, reason, happened_at, received_at, run_at)
SELECT legal_entity_id, gateway_account_id, gateway_event_id, bucket, kind, object_type,
  gateway_object_id, known_by, lane, owner_id, attempt_no, amount_minor, currency, body_digest,
  state, reason, happened_at, received_at, received_at
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::smallint[], $5::text[], $6::text[], $7::text[],
  $8::text[], $9::text[], $10::uuid[], $11::integer[], $12::bigint[], $13::text[], $14::bytea[],
  $15::text[], $16::text[], $17::timestamptz[], $18::timestamptz[])
AS item (legal_entity_id, gateway_account_id, gateway_event_id, bucket, kind, object_type,
  gateway_object_id, known_by, lane, owner_id, attempt_no, amount_minor, currency, body_digest,
  state, reason, happened_at, received_at)
ORDER BY legal_entity_id, gateway_account_id, gateway_event_id
ON CONFLICT DO NOTHING
RETURNING e.legal_entity_id, e.gateway_account_id, e.gateway_event_id;

-- stored: what was stored under these ids
SELECT e.legal_entity_id, e.gateway_account_id, e.gateway_event_id, e.body_digest
FROM unnest($1::uuid[], $2::uuid[], $3::text[])
  AS item (legal_entity_id, gateway_account_id, gateway_event_id)
CROSS JOIN LATERAL (SELECT found.legal_entity_id, found.gateway_account_id, found.gateway_event_id,
    found.body_digest FROM webhook_events found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.gateway_account_id = item.gateway_account_id
    AND found.gateway_event_id = item.gateway_event_id LIMIT 1) e;

-- due_hints: what is to be looked at in these buckets, kept from other workers until the commit
SELECT found.* FROM unnest($1::smallint[]) AS served (bucket)
CROSS JOIN LATERAL (
  SELECT e.legal_entity_id, e.gateway_account_id, e.gateway_event_id, e.object_type,
    e.gateway_object_id, e.known_by, e.lane, e.owner_id, e.attempt_no, e.amount_minor,
    e.currency, e.tries
  FROM webhook_events e
  WHERE e.bucket = served.bucket AND e.state = 'received' AND e.run_at <= $2
  ORDER BY e.run_at LIMIT $3 FOR UPDATE SKIP LOCKED
) found
LIMIT $3;

-- attempts_hinted: the attempts that hints name
SELECT a.legal_entity_id, a.payment_id AS owner_id, a.attempt_no, a.gateway_account_id,
  a.gateway_object_id, a.amount_minor, a.currency
FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS item (legal_entity_id, payment_id, attempt_no)
CROSS JOIN LATERAL (SELECT * FROM attempts found
  WHERE found.legal_entity_id = item.legal_entity_id AND found.payment_id = item.payment_id
    AND found.attempt_no = item.attempt_no LIMIT 1) a;

-- refunds_hinted: the refunds that hints name
SELECT r.legal_entity_id, r.refund_id AS owner_id, r.gateway_account_id, r.gateway_object_id,
  r.amount_minor, r.currency
FROM unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, refund_id)
CROSS JOIN LATERAL (SELECT * FROM refunds found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.refund_id = item.refund_id LIMIT 1) r;

-- hurry_payments: look at these now; those that somebody is at come back as held, and stay. A row
-- that is locked is one of them: who waited for it here could hold what its holder waits for.
WITH item AS MATERIALIZED (
  SELECT legal_entity_id, payment_id FROM unnest($1::uuid[], $2::uuid[])
    AS item (legal_entity_id, payment_id)
), job AS MATERIALIZED (
  SELECT j.legal_entity_id, j.payment_id, j.run_at, j.held
  FROM item
  CROSS JOIN LATERAL (SELECT * FROM jobs found
    WHERE found.legal_entity_id = item.legal_entity_id
      AND found.payment_id = item.payment_id LIMIT 1 FOR UPDATE SKIP LOCKED) j
), hurried AS (
  UPDATE jobs j SET run_at = $3 FROM job
  WHERE j.legal_entity_id = job.legal_entity_id AND j.payment_id = job.payment_id
    AND NOT job.held AND job.run_at > $3
)
SELECT legal_entity_id, payment_id AS owner_id FROM job WHERE held AND run_at > $3
UNION ALL
SELECT j.legal_entity_id, j.payment_id FROM item
CROSS JOIN LATERAL (SELECT found.legal_entity_id, found.payment_id FROM jobs found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.payment_id = item.payment_id LIMIT 1) j
WHERE (j.payment_id IN (SELECT job.payment_id FROM job)) IS NOT TRUE;

-- hurry_refunds: as hurry_payments, for refunds
WITH item AS MATERIALIZED (
  SELECT legal_entity_id, refund_id FROM unnest($1::uuid[], $2::uuid[])
    AS item (legal_entity_id, refund_id)
), job AS MATERIALIZED (
  SELECT j.legal_entity_id, j.refund_id, j.run_at, j.held
  FROM item
  CROSS JOIN LATERAL (SELECT * FROM refund_jobs found
    WHERE found.legal_entity_id = item.legal_entity_id
      AND found.refund_id = item.refund_id LIMIT 1 FOR UPDATE SKIP LOCKED) j
), hurried AS (
  UPDATE refund_jobs j SET run_at = $3 FROM job
  WHERE j.legal_entity_id = job.legal_entity_id AND j.refund_id = job.refund_id
    AND NOT job.held AND job.run_at > $3
)
SELECT legal_entity_id, refund_id AS owner_id FROM job WHERE held AND run_at > $3
UNION ALL
SELECT j.legal_entity_id, j.refund_id FROM item
CROSS JOIN LATERAL (SELECT found.legal_entity_id, found.refund_id FROM refund_jobs found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.refund_id = item.refund_id LIMIT 1) j
WHERE (j.refund_id IN (SELECT job.refund_id FROM job)) IS NOT TRUE;

-- end_hints: what became of hints that due_hints has locked; received ones come again at run_at
UPDATE webhook_events e SET state = item.state, reason = item.reason, run_at = item.run_at,
  tries = e.tries + 1,
  ended_at = CASE WHEN item.state = 'received' THEN NULL ELSE $7::timestamptz END
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
  AS item (legal_entity_id, gateway_account_id, gateway_event_id, state, reason, run_at)
WHERE e.legal_entity_id = item.legal_entity_id AND e.gateway_account_id = item.gateway_account_id
  AND e.gateway_event_id = item.gateway_event_id;

-- hints_open: how many wait in these buckets to be looked at, and since when the first does
SELECT count(*) AS number, min(found.received_at) AS since
FROM unnest($1::smallint[]) AS served (bucket)
CROSS JOIN LATERAL (
  SELECT e.received_at FROM webhook_events e
  WHERE e.bucket = served.bucket AND e.state = 'received' ORDER BY e.run_at LIMIT $2
) found;

-- hints_parked: how many in these buckets nobody could match, and since when the first waits
SELECT count(*) AS number, min(found.received_at) AS since
FROM unnest($1::smallint[]) AS served (bucket)
CROSS JOIN LATERAL (
  SELECT e.received_at FROM webhook_events e
  WHERE e.bucket = served.bucket AND e.state = 'parked' ORDER BY e.received_at LIMIT $2
) found;

-- list_parked: those of some legal entities, newest first
SELECT gateway_account_id, gateway_event_id, kind, object_type, gateway_object_id, owner_id, lane,
  reason, received_at FROM webhook_events
WHERE legal_entity_id = ANY ($1::uuid[]) AND state = 'parked'
ORDER BY received_at DESC LIMIT $2;

-- arrived: what came of one account since then, by kind and by what became of it
SELECT kind, state, reason, count(*) FILTER (WHERE body_digest <> $4) AS sent,
  count(*) FILTER (WHERE body_digest = $4) AS listed, max(received_at) AS last FROM webhook_events
WHERE legal_entity_id = $1 AND gateway_account_id = $2 AND received_at >= $3
GROUP BY kind, state, reason ORDER BY kind, state, reason;

-- hints_due: a row if something is due in these buckets; the bell of a worker asks
SELECT FROM webhook_events
WHERE bucket = ANY ($1::smallint[]) AND state = 'received' AND run_at <= $2
