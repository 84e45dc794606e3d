-- claim_endpoints: those in these buckets that something is to be done for, until $4; none of the
-- legal entities $5; nobody holds one beyond $6, unless the clock was set back
WITH due AS MATERIALIZED (
  SELECT found.legal_entity_id, found.endpoint_id
  FROM unnest($1::smallint[]) AS served (bucket)
  CROSS JOIN LATERAL (
    SELECT e.legal_entity_id, e.endpoint_id FROM webhook_endpoints e
    WHERE e.bucket = served.bucket AND e.state = 'enabled'
      AND (e.held_until <= $2 OR e.held_until > $6) AND e.legal_entity_id <> ALL ($5::uuid[])
      AND (e.due_at <= $2 OR EXISTS (SELECT FROM log_heads h
        WHERE h.legal_entity_id = e.legal_entity_id AND h.size > e.next_index))
    ORDER BY e.held_until LIMIT $3 FOR UPDATE OF e SKIP LOCKED
  ) found
  LIMIT $3
)
UPDATE webhook_endpoints e SET held_until = $4, lease = e.lease + 1,
  due_at = coalesce(e.due_at, $2)
FROM due WHERE e.legal_entity_id = due.legal_entity_id AND e.endpoint_id = due.endpoint_id
RETURNING e.legal_entity_id, e.endpoint_id, e.version, e.host, e.kinds, e.state, e.state_reason,
  e.created_at, e.next_index, e.lease, e.failures, e.failing_since;

-- lock_endpoint: one whose lease is still this one, kept from others until the commit
SELECT version, state FROM webhook_endpoints
WHERE legal_entity_id = $1 AND endpoint_id = $2 AND lease = $3 FOR UPDATE;

-- waiting: how many deliveries of an endpoint have not ended
SELECT count(*) FROM webhook_deliveries
WHERE legal_entity_id = $1 AND endpoint_id = $2 AND state = 'waiting';

-- plan: these entries are to be told; one that is known is left as it is
INSERT INTO webhook_deliveries (legal_entity_id, endpoint_id, index, subject_id, version, kind,
  state)
SELECT $1, $2, item.index, item.subject_id, item.version, item.kind, 'waiting'
FROM unnest($3::bigint[], $4::uuid[], $5::integer[], $6::text[])
  AS item (index, subject_id, version, kind)
ON CONFLICT (legal_entity_id, endpoint_id, index) DO NOTHING;

-- line_up: of each of these subjects the first that waits is due, the others wait behind it
UPDATE webhook_deliveries d SET run_at = CASE WHEN d.index = f.first THEN $3::timestamptz END
FROM (
  SELECT item.subject_id, (SELECT w.index FROM webhook_deliveries w
    WHERE w.legal_entity_id = $1 AND w.endpoint_id = $2 AND w.subject_id = item.subject_id
      AND w.state = 'waiting'
    ORDER BY w.index LIMIT 1) AS first
  FROM unnest($4::uuid[]) AS item (subject_id)
) f
WHERE d.legal_entity_id = $1 AND d.endpoint_id = $2 AND d.subject_id = f.subject_id
  AND d.state = 'waiting' AND (d.run_at IS NULL) = (d.index = f.first);

-- read_up_to: the endpoint's place in the log; $4 is when something of what was read is due
UPDATE webhook_endpoints SET next_index = $3, due_at = least(due_at, $4)
WHERE legal_entity_id = $1 AND endpoint_id = $2;

-- due_heads: what is due, each the first of its subject, with its entry
SELECT h.index, h.tries, h.first_tried_at, h.tried_at, l.entry FROM (
  SELECT d.index, d.tries, d.first_tried_at, d.tried_at FROM webhook_deliveries d
  WHERE d.legal_entity_id = $1 AND d.endpoint_id = $2 AND d.run_at <= $3
  ORDER BY d.run_at, d.index LIMIT $4
) h
JOIN log_entries l ON l.legal_entity_id = $1 AND l.index = h.index
ORDER BY h.index;

-- probes: as due_heads, whether they are due or not: those first that were tried least lately
SELECT h.index, h.tries, h.first_tried_at, h.tried_at, l.entry FROM (
  SELECT d.index, d.tries, d.first_tried_at, d.tried_at FROM webhook_deliveries d
  WHERE d.legal_entity_id = $1 AND d.endpoint_id = $2 AND d.run_at IS NOT NULL
  ORDER BY d.tried_at NULLS FIRST, d.index LIMIT $3
) h
JOIN log_entries l ON l.legal_entity_id = $1 AND l.index = h.index
ORDER BY h.index;

-- end_tries: what came of these; one that was no more than a probe is due when it was
UPDATE webhook_deliveries d SET state = item.state,
  run_at = CASE WHEN item.state = 'waiting' THEN coalesce(item.run_at, d.run_at) END,
  tries = d.tries + item.counts::integer, outcome = item.outcome, status = item.status,
  tried_at = $3,
  first_tried_at = coalesce(d.first_tried_at, CASE WHEN item.counts THEN $3::timestamptz END),
  ended_at = CASE WHEN item.state <> 'waiting' THEN $3::timestamptz END
FROM unnest($4::bigint[], $5::text[], $6::timestamptz[], $7::boolean[], $8::text[], $9::integer[])
  AS item (index, state, run_at, counts, outcome, status)
WHERE d.legal_entity_id = $1 AND d.endpoint_id = $2 AND d.index = item.index
  AND d.state = 'waiting';

-- start_anew: what waits is tried now, as if it never had been
UPDATE webhook_deliveries SET tries = 0, first_tried_at = NULL,
  run_at = CASE WHEN run_at IS NOT NULL THEN $3::timestamptz END
WHERE legal_entity_id = $1 AND endpoint_id = $2 AND state = 'waiting';

-- end_round: how the endpoint does, and when there is something to be delivered to it again
UPDATE webhook_endpoints e SET held_until = $3, failures = $4, failing_since = $5, due_at = (
  SELECT CASE WHEN $4 > 0 THEN $3 ELSE d.run_at END FROM webhook_deliveries d
  WHERE d.legal_entity_id = $1 AND d.endpoint_id = $2 AND d.run_at IS NOT NULL
  ORDER BY d.run_at LIMIT 1)
WHERE e.legal_entity_id = $1 AND e.endpoint_id = $2;

-- endpoints_served: all of these buckets
SELECT legal_entity_id, endpoint_id FROM webhook_endpoints WHERE bucket = ANY ($1::smallint[]);

-- forget_deliveries: some of those that ended before $3
DELETE FROM webhook_deliveries d
WHERE d.legal_entity_id = $1 AND d.endpoint_id = $2 AND d.index = ANY (ARRAY(
  SELECT o.index FROM webhook_deliveries o
  WHERE o.legal_entity_id = $1 AND o.endpoint_id = $2 AND o.state <> 'waiting' AND o.ended_at < $3
  ORDER BY o.ended_at LIMIT $4))
RETURNING d.index;

-- put_endpoint_off: nothing could be tried, for a reason of ours
UPDATE webhook_endpoints SET held_until = $4
WHERE legal_entity_id = $1 AND endpoint_id = $2 AND lease = $3;

-- set_state: enabled or disabled
UPDATE webhook_endpoints SET state = $3, state_reason = $4, state_since = $5, failures = 0,
  failing_since = NULL
WHERE legal_entity_id = $1 AND endpoint_id = $2;

-- add_endpoint: a new one, which reads from $6 on, with the event that says so
WITH added AS (
  INSERT INTO webhook_endpoints (legal_entity_id, endpoint_id, version, bucket, host, kinds, state,
    state_since, created_at, next_index, held_until)
  VALUES ($1, $2, 1, $3, $4, $5, 'enabled', $7, $7, $6, $7)
  RETURNING endpoint_id
)
INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest, payload)
SELECT $1, endpoint_id, 1, 'webhook_endpoint.created', $8, $7, $9, $10 FROM added;

-- last_of_endpoint: the version of the last event, whoever wrote it
SELECT max(version) FROM events WHERE legal_entity_id = $1 AND payment_id = $2;

-- note_endpoint: the event of an endpoint's next version
WITH done AS (
  UPDATE webhook_endpoints SET version = $3
  WHERE legal_entity_id = $1 AND endpoint_id = $2 AND version < $3
  RETURNING endpoint_id
)
INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest, payload)
SELECT $1, endpoint_id, $3, $4, $5, $6, $7, $8 FROM done;

-- remove_endpoint: with all that is known of what it was told
WITH gone AS (
  DELETE FROM webhook_deliveries WHERE legal_entity_id = $1 AND endpoint_id = $2
)
DELETE FROM webhook_endpoints WHERE legal_entity_id = $1 AND endpoint_id = $2;

-- endpoints: those of some legal entities, with how many entries they have not read, and how many
-- deliveries wait or were given up
SELECT e.legal_entity_id, e.endpoint_id, e.version, e.host, e.kinds, e.state, e.state_reason,
  e.created_at, e.failing_since,
  (SELECT greatest(coalesce(max(h.size), 0) - e.next_index, 0) FROM log_heads h
    WHERE h.legal_entity_id = e.legal_entity_id) AS unread,
  (SELECT count(*) FROM webhook_deliveries d WHERE d.legal_entity_id = e.legal_entity_id
    AND d.endpoint_id = e.endpoint_id AND d.state = 'waiting') AS waiting,
  (SELECT count(*) FROM webhook_deliveries d WHERE d.legal_entity_id = e.legal_entity_id
    AND d.endpoint_id = e.endpoint_id AND d.state = 'given_up') AS given_up
FROM webhook_endpoints e WHERE e.legal_entity_id = ANY ($1::uuid[])
ORDER BY e.legal_entity_id, e.endpoint_id;

-- secrets_in_use: of one slot
SELECT version FROM secrets
WHERE legal_entity_id = $1 AND owner_id = $2 AND kind = $3 AND retired_at IS NULL
ORDER BY version;

-- endpoint_to_change: one, kept from others until the commit
SELECT legal_entity_id, endpoint_id, version, host, kinds, state, state_reason, created_at
FROM webhook_endpoints WHERE legal_entity_id = $1 AND endpoint_id = $2 FOR UPDATE;

-- head: how many entries a log has
SELECT size FROM log_heads WHERE legal_entity_id = $1;

-- read_so_far: the endpoint's place in the log
SELECT next_index FROM webhook_endpoints WHERE legal_entity_id = $1 AND endpoint_id = $2;

-- tell_again: these entries once more, whatever became of them
INSERT INTO webhook_deliveries AS d (legal_entity_id, endpoint_id, index, subject_id, version, kind,
  state)
SELECT $1, $2, item.index, item.subject_id, item.version, item.kind, 'waiting'
FROM unnest($3::bigint[], $4::uuid[], $5::integer[], $6::text[])
  AS item (index, subject_id, version, kind)
ON CONFLICT (legal_entity_id, endpoint_id, index) DO UPDATE SET state = 'waiting', tries = 0,
  first_tried_at = NULL, ended_at = NULL;

-- make_due: something waits for this endpoint now
UPDATE webhook_endpoints SET due_at = $3
WHERE legal_entity_id = $1 AND endpoint_id = $2;

-- deliveries: of an endpoint, the newest first
SELECT index, subject_id, version, kind, state, run_at, tries, outcome, status, tried_at, ended_at
FROM webhook_deliveries
WHERE legal_entity_id = $1 AND endpoint_id = $2 AND ($3::text IS NULL OR state = $3)
ORDER BY legal_entity_id DESC, endpoint_id DESC, index DESC LIMIT $4;

-- endpoints_failing: of these buckets, how many fail and since when the first does, how many were
-- disabled for what their receiver did, and since when the first is due
SELECT count(*) FILTER (WHERE e.state = 'enabled' AND e.failing_since IS NOT NULL) AS failing,
  min(e.failing_since) FILTER (WHERE e.state = 'enabled') AS since,
  count(*) FILTER (WHERE e.state = 'disabled' AND e.state_reason = ANY ($2)) AS lost,
  min(e.due_at) FILTER (WHERE e.state = 'enabled') AS due_since
FROM webhook_endpoints e WHERE e.bucket = ANY ($1::smallint[]);
