-- entities_by_tag: the legal entities whose tags these ids carry
SELECT legal_entity_id, tag FROM directory.legal_entities WHERE tag = ANY ($1::bigint[]);

-- attempts_charged: what the attempts that charges name have made; what of it is still sought
SELECT a.payment_id, a.attempt_no, a.gateway_object_id,
  NOT a.staged AND a.gateway_object_id IS NULL AND a.state IN ('open', 'unknown') AS is_sought
FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS item (legal_entity_id, payment_id, attempt_no)
CROSS JOIN LATERAL (SELECT * FROM attempts found
  WHERE found.legal_entity_id = item.legal_entity_id AND found.payment_id = item.payment_id
    AND found.attempt_no = item.attempt_no LIMIT 1) a;

-- declare_shared: whether charges without our mark are another system's; from the next page on
INSERT INTO sweeps AS s (legal_entity_id, gateway_account_id, sweep, bucket, since, run_at,
  skips_unmarked)
VALUES ($1, $2, 'charges', $3, $4, $4, $5)
ON CONFLICT (legal_entity_id, gateway_account_id, sweep) DO UPDATE
SET skips_unmarked = excluded.skips_unmarked;

-- unmarked_alarms: those of an account that are open
SELECT alarm_id FROM alarms WHERE legal_entity_id = $1 AND gateway_account_id = $2
  AND kind = 'unmarked_charge' AND cleared_at IS NULL ORDER BY alarm_id LIMIT $3;

-- ghosts_open: charges that nobody has accounted for, the newest first
SELECT legal_entity_id, alarm_id, kind, gateway_account_id, subject, reason, raised_at FROM alarms
WHERE legal_entity_id = ANY ($1::uuid[]) AND kind IN ('ghost_charge', 'unmarked_charge')
  AND cleared_at IS NULL ORDER BY raised_at DESC LIMIT $2;
