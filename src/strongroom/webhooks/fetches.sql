-- ask_for: these are to be fetched
INSERT INTO webhook_fetches (legal_entity_id, gateway_account_id, gateway_event_id, bucket,
  object_type, gateway_object_id, run_at)
SELECT legal_entity_id, gateway_account_id, gateway_event_id, bucket, object_type,
  gateway_object_id, run_at
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::smallint[], $5::text[], $6::text[],
  $7::timestamptz[])
  AS item (legal_entity_id, gateway_account_id, gateway_event_id, bucket, object_type,
    gateway_object_id, run_at)
ORDER BY legal_entity_id, gateway_account_id, gateway_event_id;

-- claim_fetches: those that are due in these buckets; run_at becomes the end of the lease
WITH due AS MATERIALIZED (
  SELECT found.legal_entity_id, found.gateway_account_id, found.gateway_event_id
  FROM unnest($1::smallint[]) AS served (bucket)
  CROSS JOIN LATERAL (
    SELECT f.legal_entity_id, f.gateway_account_id, f.gateway_event_id FROM webhook_fetches f
    WHERE f.bucket = served.bucket AND f.run_at <= $2
    ORDER BY f.run_at LIMIT $3 FOR UPDATE SKIP LOCKED
  ) found
  LIMIT $3
)
UPDATE webhook_fetches f SET run_at = $4, tries = f.tries + 1
FROM due WHERE f.legal_entity_id = due.legal_entity_id
  AND f.gateway_account_id = due.gateway_account_id
  AND f.gateway_event_id = due.gateway_event_id
RETURNING f.legal_entity_id, f.gateway_account_id, f.gateway_event_id, f.object_type,
  f.gateway_object_id, f.tries;

-- end_fetch: what came of it; with an owner the webhook is followed up from now on
WITH done AS (
  DELETE FROM webhook_fetches f
  WHERE f.legal_entity_id = $1 AND f.gateway_account_id = $2 AND f.gateway_event_id = $3
)
UPDATE webhook_events e SET state = $4, reason = $5, known_by = $6, lane = $7, owner_id = $8,
  attempt_no = $9, amount_minor = $10, currency = $11, run_at = $12, ended_at = $13
WHERE e.legal_entity_id = $1 AND e.gateway_account_id = $2 AND e.gateway_event_id = $3
  AND e.state = 'parked';

-- put_off_fetch: the gateway did not answer
UPDATE webhook_fetches SET run_at = $4
WHERE legal_entity_id = $1 AND gateway_account_id = $2 AND gateway_event_id = $3;
