-- raise_alarms: each once while it is open, with the event that says so; the new ones come back
WITH item AS MATERIALIZED (
  SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::text[], $5::uuid[], $6::text[],
    $7::text[], $8::timestamptz[], $9::bytea[], $10::bytea[])
  AS item (legal_entity_id, alarm_id, bucket, kind, gateway_account_id, subject, reason, raised_at,
    row_digest, payload)
), raised AS (
  INSERT INTO alarms AS a (legal_entity_id, alarm_id, bucket, kind, gateway_account_id, subject,
    reason, raised_at)
  SELECT legal_entity_id, alarm_id, bucket, kind, gateway_account_id, subject, reason, raised_at
  FROM item ORDER BY legal_entity_id, gateway_account_id, kind, subject
  ON CONFLICT DO NOTHING
  RETURNING a.legal_entity_id, a.alarm_id
), told AS (
  INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest, payload)
  SELECT item.legal_entity_id, item.alarm_id, 1, 'alarm.raised', $11, item.raised_at,
    item.row_digest, item.payload
  FROM item JOIN raised ON raised.legal_entity_id = item.legal_entity_id
    AND raised.alarm_id = item.alarm_id
)
SELECT raised.alarm_id FROM raised;

-- alarms_open: of each kind the newest of some legal entities that nobody has cleared; so however
-- many there are of one, those of another are seen
SELECT found.* FROM unnest($3::text[]) AS wanted (kind)
CROSS JOIN LATERAL (
  SELECT a.legal_entity_id, a.alarm_id, a.kind, a.gateway_account_id, a.subject, a.reason,
    a.raised_at
  FROM alarms a
  WHERE a.legal_entity_id = ANY ($1::uuid[]) AND a.kind = wanted.kind AND a.cleared_at IS NULL
  ORDER BY a.raised_at DESC LIMIT $2
) found
ORDER BY found.raised_at DESC;

-- alarms_counted: by kind, those that nobody has cleared in these buckets
SELECT found.kind, count(*) AS number
FROM unnest($1::smallint[]) AS served (bucket)
CROSS JOIN LATERAL (
  SELECT a.kind FROM alarms a
  WHERE a.bucket = served.bucket AND a.cleared_at IS NULL ORDER BY a.raised_at LIMIT $2
) found
GROUP BY found.kind;

-- alarm_to_clear: one that is open, kept from others until the commit
SELECT legal_entity_id, alarm_id, kind, gateway_account_id, subject, reason, raised_at FROM alarms
WHERE legal_entity_id = $1 AND alarm_id = $2 AND cleared_at IS NULL FOR UPDATE;

-- clear_alarm: somebody has seen to it; the event says who, and comes after whatever there is
WITH cleared AS (
  UPDATE alarms a SET cleared_at = $3, cleared_by = $4, cleared_because = $5
  WHERE a.legal_entity_id = $1 AND a.alarm_id = $2 AND a.cleared_at IS NULL
  RETURNING a.legal_entity_id, a.alarm_id
)
INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest, payload)
SELECT cleared.legal_entity_id, cleared.alarm_id, (SELECT 1 + coalesce(max(e.version), 1)
    FROM events e WHERE e.legal_entity_id = $1 AND e.payment_id = $2),
  'alarm.cleared', $4, $3, $6, $7 FROM cleared;

-- frozen: what waits for a person in some legal entities, the oldest first
SELECT legal_entity_id, owner_id, lane, review, since FROM reviews
WHERE legal_entity_id = ANY ($1::uuid[]) ORDER BY since LIMIT $2;

-- unknown_since: payments and refunds of a legal entity whose outcome is unknown since before $2
(SELECT 'payments' AS lane, p.payment_id AS owner_id, p.updated_at AS since
FROM (SELECT j.legal_entity_id, j.payment_id FROM jobs j
  WHERE j.legal_entity_id = $1 ORDER BY j.legal_entity_id, j.payment_id LIMIT $3) job
CROSS JOIN LATERAL (SELECT found.payment_id, found.updated_at FROM payments found
  WHERE found.legal_entity_id = job.legal_entity_id AND found.payment_id = job.payment_id
    AND found.status = 'outcome_unknown' AND found.updated_at < $2 LIMIT 1) p)
UNION ALL
(SELECT 'refunds' AS lane, r.refund_id AS owner_id, r.updated_at AS since
FROM (SELECT j.legal_entity_id, j.refund_id FROM refund_jobs j
  WHERE j.legal_entity_id = $1 ORDER BY j.legal_entity_id, j.refund_id LIMIT $3) job
CROSS JOIN LATERAL (SELECT found.refund_id, found.updated_at FROM refunds found
  WHERE found.legal_entity_id = job.legal_entity_id AND found.refund_id = job.refund_id
    AND found.status = 'outcome_unknown' AND found.updated_at < $2 LIMIT 1) r)
ORDER BY since LIMIT $4;

-- endpoints_lost: those of some legal entities that took nothing for days, or want nothing more
SELECT e.legal_entity_id, e.endpoint_id, e.state_since AS since, e.state_reason AS reason
FROM webhook_endpoints e
WHERE e.legal_entity_id = ANY ($1::uuid[]) AND e.state = 'disabled' AND e.state_reason = ANY ($2)
ORDER BY e.state_since DESC LIMIT $3;
