-- placed: some entries from an index on, and whose they are by the columns that look-ups go by
SELECT index, subject_id, version, entry FROM log_entries
WHERE legal_entity_id = $1 AND index >= $2 ORDER BY index LIMIT $3;

-- events_of: events by subject and version, as the database shows them
SELECT e.* FROM unnest($2::uuid[], $3::integer[]) AS item (subject_id, version)
CROSS JOIN LATERAL (
  SELECT kind, payment_id AS subject_id, version, at, row_format::integer, row_digest, actor,
    payload
  FROM events found WHERE found.legal_entity_id = $1
    AND found.payment_id = item.subject_id AND found.version = item.version
  UNION ALL
  SELECT kind, owner_id, version, at, 0, row_digest, actor, payload
  FROM customer_events found WHERE found.legal_entity_id = $1
    AND found.owner_id = item.subject_id AND found.version = item.version
  LIMIT 1
) e;

-- events_after: those of one subject after a version
SELECT version, at, payload FROM events
WHERE legal_entity_id = $1 AND payment_id = $2 AND version > $3 ORDER BY version LIMIT $4;

-- event_names: a page of the events that the database shows, and whether the first $5 entries of
-- the log have them; EXISTS would have the planner read all entries for each page
SELECT e.payment_id AS subject_id, e.version, e.at, e.kind, (SELECT true FROM log_entries l
  WHERE l.legal_entity_id = $1 AND l.subject_id = e.payment_id AND l.version = e.version
    AND NOT l.of_customer AND l.index < $5) IS TRUE AS is_placed
FROM events e WHERE e.legal_entity_id = $1 AND (e.payment_id, e.version) > ($2, $3)
ORDER BY e.payment_id, e.version LIMIT $4;

-- customer_event_names: as event_names, of customers and their payment methods
SELECT e.owner_id AS subject_id, e.version, e.at, e.kind, (SELECT true FROM log_entries l
  WHERE l.legal_entity_id = $1 AND l.subject_id = e.owner_id AND l.version = e.version
    AND l.of_customer AND l.index < $5) IS TRUE AS is_placed
FROM customer_events e WHERE e.legal_entity_id = $1 AND (e.owner_id, e.version) > ($2, $3)
ORDER BY e.owner_id, e.version LIMIT $4;

-- without_one_before: which of these entries follow no entry of the version before
SELECT item.index FROM unnest($2::uuid[], $3::integer[], $4::bigint[])
  AS item (subject_id, version, index)
WHERE NOT EXISTS (SELECT FROM log_entries l WHERE l.legal_entity_id = $1
  AND l.subject_id = item.subject_id AND l.version = item.version - 1 AND l.index < item.index);

-- without_row: what of these, each of a family, is no row
SELECT item.id, item.family FROM unnest($2::uuid[], $3::text[]) AS item (id, family)
WHERE (CASE item.family
  WHEN 'payment' THEN (SELECT true FROM payments found
    WHERE found.legal_entity_id = $1 AND found.payment_id = item.id)
  WHEN 'refund' THEN (SELECT true FROM refunds found
    WHERE found.legal_entity_id = $1 AND found.refund_id = item.id)
  WHEN 'dispute' THEN (SELECT true FROM disputes found
    WHERE found.legal_entity_id = $1 AND found.dispute_id = item.id)
  WHEN 'payout' THEN (SELECT true FROM payouts found
    WHERE found.legal_entity_id = $1 AND found.payout_id = item.id)
  WHEN 'customer' THEN (SELECT true FROM customers found
    WHERE found.legal_entity_id = $1 AND found.customer_id = item.id)
  WHEN 'payment_method' THEN (SELECT true FROM payment_methods found
    WHERE found.legal_entity_id = $1 AND found.payment_method_id = item.id)
  ELSE (SELECT true FROM tax_calculations found
    WHERE found.legal_entity_id = $1 AND found.calculation_id = item.id)
END) IS NOT TRUE;

-- newest_of: the last of the first $3 entries of each of these subjects
SELECT e.subject_id, e.entry FROM unnest($2::uuid[]) AS item (subject_id)
CROSS JOIN LATERAL (SELECT found.subject_id, found.entry FROM log_entries found
  WHERE found.legal_entity_id = $1 AND found.subject_id = item.subject_id AND found.index < $3
  ORDER BY found.legal_entity_id DESC, found.subject_id DESC, found.version DESC LIMIT 1) e;

-- told_of: of the first $4 entries those of these subjects, after a version each, that have $5
SELECT e.subject_id, e.version, e.entry
FROM unnest($2::uuid[], $3::integer[]) AS item (subject_id, version)
CROSS JOIN LATERAL (SELECT found.subject_id, found.version, found.entry FROM log_entries found
  WHERE found.legal_entity_id = $1 AND found.subject_id = item.subject_id
    AND found.version > item.version AND found.index < $4
    AND position($5::bytea IN found.entry) > 0
  ORDER BY found.legal_entity_id, found.subject_id, found.version LIMIT $6) e;

-- payments_above: a page of rows
SELECT * FROM payments WHERE legal_entity_id = $1 AND payment_id > $2
ORDER BY legal_entity_id, payment_id LIMIT $3;

-- payouts_above: a page of rows
SELECT * FROM payouts WHERE legal_entity_id = $1 AND payout_id > $2
ORDER BY legal_entity_id, payout_id LIMIT $3;

-- customers_above: a page of rows
SELECT * FROM customers WHERE legal_entity_id = $1 AND customer_id > $2
ORDER BY legal_entity_id, customer_id LIMIT $3;

-- methods_above: a page of rows, each with what its gateway account calls it
SELECT m.*, t.gateway_account_id, t.gateway, t.offered, t.setup_object, t.token
FROM payment_methods m
LEFT JOIN LATERAL (SELECT * FROM payment_method_tokens found
  WHERE found.legal_entity_id = m.legal_entity_id
    AND found.payment_method_id = m.payment_method_id LIMIT 1) t ON true
WHERE m.legal_entity_id = $1 AND m.payment_method_id > $2
ORDER BY m.legal_entity_id, m.payment_method_id LIMIT $3;

-- calculations_above: a page of rows, without what was asked
SELECT c.legal_entity_id, c.calculation_id, c.version, c.status, c.status_reason, c.currency,
  c.total_minor, c.exclusive_minor, c.inclusive_minor, c.lines, c.gateway, c.gateway_account_id,
  c.gateway_object_id, c.expires_at, c.digest_salt, c.created_at, c.updated_at
FROM tax_calculations c WHERE c.legal_entity_id = $1 AND c.calculation_id > $2
ORDER BY c.legal_entity_id, c.calculation_id LIMIT $3;

-- refunds_above: a page of rows, those of a payment together
SELECT * FROM refunds WHERE legal_entity_id = $1 AND (payment_id, refund_id) > ($2, $3)
ORDER BY legal_entity_id, payment_id, refund_id LIMIT $4;

-- disputes_above: a page of rows, those of a payment together
SELECT * FROM disputes WHERE legal_entity_id = $1 AND (payment_id, dispute_id) > ($2, $3)
ORDER BY legal_entity_id, payment_id, dispute_id LIMIT $4;
