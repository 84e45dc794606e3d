-- entities_served: the legal entities of these buckets
SELECT legal_entity_id FROM directory.legal_entities WHERE bucket = ANY ($1::smallint[]);

-- begin_sweeps: each kind for each account in use that has none; `gateways` are those it works at
INSERT INTO sweeps (legal_entity_id, gateway_account_id, sweep, bucket, since, run_at)
SELECT a.legal_entity_id, a.gateway_account_id, kind.sweep, e.bucket, $4, kind.run_at
FROM unnest($2::text[], $3::text[], $5::timestamptz[]) AS kind (sweep, gateway, run_at)
JOIN gateway_accounts a ON kind.gateway = a.gateway
JOIN directory.legal_entities e ON e.legal_entity_id = a.legal_entity_id
WHERE a.legal_entity_id = ANY ($1::uuid[]) AND a.retired_at IS NULL
ON CONFLICT DO NOTHING;

-- claim_sweeps: those that are due in these buckets; run_at becomes the end of the lease
WITH due AS MATERIALIZED (
  SELECT found.legal_entity_id, found.gateway_account_id, found.sweep
  FROM unnest($1::smallint[]) AS served (bucket)
  CROSS JOIN LATERAL (
    SELECT s.legal_entity_id, s.gateway_account_id, s.sweep FROM sweeps s
    WHERE s.bucket = served.bucket AND s.run_at <= $2
    ORDER BY s.run_at LIMIT $3 FOR UPDATE SKIP LOCKED
  ) found
  LIMIT $3
)
UPDATE sweeps s SET run_at = $4
FROM due WHERE s.legal_entity_id = due.legal_entity_id
  AND s.gateway_account_id = due.gateway_account_id AND s.sweep = due.sweep
RETURNING s.legal_entity_id, s.gateway_account_id, s.sweep, s.since, s.until, s.cursor, s.seen,
  s.found, s.tries, s.skips_unmarked, s.run_at;

-- move_sweep: where a sweep is and when it goes on, if the lease is still the one that claimed it
UPDATE sweeps SET since = $5, until = $6, cursor = $7, seen = $8, found = $9, tries = $10,
  run_at = $11, reached_at = $12
WHERE legal_entity_id = $1 AND gateway_account_id = $2 AND sweep = $3 AND run_at = $4;

-- begin_replay: all of the gateway's list since then, unless one is under way
INSERT INTO sweeps AS s (legal_entity_id, gateway_account_id, sweep, bucket, since, until, run_at)
VALUES ($1, $2, 'replay', $3, $4, $5, $5)
ON CONFLICT (legal_entity_id, gateway_account_id, sweep) DO UPDATE
SET since = excluded.since, until = excluded.until, run_at = excluded.run_at, cursor = NULL,
  reached_at = NULL, seen = 0, found = 0, tries = 0
WHERE s.run_at IS NULL
RETURNING s.since;

-- replay_now: how far the replay of an account is; run_at is null when it is over
SELECT since, until, reached_at, seen, found, tries, run_at FROM sweeps
WHERE legal_entity_id = $1 AND gateway_account_id = $2 AND sweep = 'replay';

-- expire_webhooks: look at the next in order of their ids; those go that are old and at their end
WITH page AS MATERIALIZED (
  SELECT e.gateway_event_id, e.state, e.received_at FROM webhook_events e
  WHERE e.legal_entity_id = $1 AND e.gateway_account_id = $2 AND e.gateway_event_id > $3
  ORDER BY e.legal_entity_id, e.gateway_account_id, e.gateway_event_id LIMIT $4
), gone AS (
  DELETE FROM webhook_events e
  WHERE e.legal_entity_id = $1 AND e.gateway_account_id = $2
    AND e.gateway_event_id = ANY (ARRAY(SELECT page.gateway_event_id FROM page
      WHERE page.received_at < $5 AND page.state <> 'received'))
  RETURNING e.gateway_event_id
)
SELECT (SELECT max(gateway_event_id) FROM page) AS reached,
  (SELECT count(*) FROM page) AS looked_at, (SELECT count(*) FROM gone) AS deleted;
