-- keep_sequencers_away: from before the snapshot of this transaction to its end
LOCK TABLE directory.log_cursor IN EXCLUSIVE MODE;

-- snapshot: what this transaction sees, as the cursor writes it, and its oldest transaction
SELECT pg_current_snapshot()::text AS seen,
  pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest;

-- log_size: how many entries a log has here, how many epochs, and whether it was ever signed
SELECT coalesce((SELECT size FROM log_heads WHERE legal_entity_id = $1), 0) AS size,
  coalesce((SELECT max(epoch) FROM log_epochs WHERE legal_entity_id = $1), 1) AS epoch,
  1 + greatest(0,
    (SELECT max(version) FROM events WHERE legal_entity_id = $1 AND payment_id = $1),
    (SELECT max(version) FROM log_entries WHERE legal_entity_id = $1 AND subject_id = $1
      AND NOT of_customer)) AS version,
  EXISTS (SELECT FROM log_checkpoints WHERE legal_entity_id = $1) AS was_signed;

-- own_events: those of the legal entity itself that have no place, in order
SELECT e.kind, e.payment_id AS subject_id, e.version, e.at, e.row_format::integer, e.row_digest,
  e.actor, e.payload
FROM events e WHERE e.legal_entity_id = $1 AND e.payment_id = $1
  AND NOT EXISTS (SELECT FROM log_entries l WHERE l.legal_entity_id = $1 AND l.subject_id = $1
    AND l.version = e.version AND NOT l.of_customer)
ORDER BY e.version;

-- place_own: one of them, behind all that there are
INSERT INTO log_entries (legal_entity_id, index, subject_id, version, of_customer, sequenced_at,
  entry)
VALUES ($1, $2, $1, $3, false, $4, $5);

-- open_epoch: the event, its place behind all that there are, and the epoch that begins by it
-- No look of a sequencer finds an event of the transaction 0: it has its place.
WITH told AS (
  INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_format, row_digest,
    payload, xid)
  VALUES ($1, $1, $2, $3, $4, $5, 0, $6, $7, 0)
), placed AS (
  INSERT INTO log_entries (legal_entity_id, index, subject_id, version, of_customer, sequenced_at,
    entry)
  VALUES ($1, $8, $1, $2, false, $5, $9)
), grown AS (
  INSERT INTO log_heads (legal_entity_id, size) VALUES ($1, $8 + 1)
  ON CONFLICT (legal_entity_id) DO UPDATE SET size = excluded.size
)
INSERT INTO log_epochs (legal_entity_id, epoch, opened_at_index) VALUES ($1, $10, $8)
ON CONFLICT (legal_entity_id, epoch) DO UPDATE SET opened_at_index = excluded.opened_at_index;

-- mark_events: a page of events of one legal entity; what has its place is never new again, though
-- transactions from $5 on are to come, and what has none waits for it as from before the log
WITH page AS MATERIALIZED (
  SELECT e.payment_id AS subject_id, e.version, e.xid, EXISTS (SELECT FROM log_entries l
    WHERE l.legal_entity_id = $1 AND l.subject_id = e.payment_id AND l.version = e.version
      AND NOT l.of_customer) AS is_placed
  FROM events e WHERE e.legal_entity_id = $1 AND (e.payment_id, e.version) > ($2, $3)
  ORDER BY e.payment_id, e.version LIMIT $4
), marked AS (
  UPDATE events e SET xid = CASE WHEN page.is_placed THEN 0 END FROM page
  WHERE e.legal_entity_id = $1 AND e.payment_id = page.subject_id AND e.version = page.version
    AND (page.is_placed AND (page.xid IS NULL OR page.xid >= $5)
      OR NOT page.is_placed AND page.xid IS NOT NULL)
)
SELECT subject_id, version, (SELECT count(*) FROM page WHERE NOT is_placed) AS waiting FROM page
ORDER BY subject_id DESC, version DESC LIMIT 1;

-- mark_customer_events: as mark_events, of customers and their payment methods
WITH page AS MATERIALIZED (
  SELECT e.owner_id AS subject_id, e.version, e.xid, EXISTS (SELECT FROM log_entries l
    WHERE l.legal_entity_id = $1 AND l.subject_id = e.owner_id AND l.version = e.version
      AND l.of_customer) AS is_placed
  FROM customer_events e WHERE e.legal_entity_id = $1 AND (e.owner_id, e.version) > ($2, $3)
  ORDER BY e.owner_id, e.version LIMIT $4
), marked AS (
  UPDATE customer_events e SET xid = CASE WHEN page.is_placed THEN 0 END FROM page
  WHERE e.legal_entity_id = $1 AND e.owner_id = page.subject_id AND e.version = page.version
    AND (page.is_placed AND (page.xid IS NULL OR page.xid >= $5)
      OR NOT page.is_placed AND page.xid IS NOT NULL)
)
SELECT subject_id, version, (SELECT count(*) FROM page WHERE NOT is_placed) AS waiting FROM page
ORDER BY subject_id DESC, version DESC LIMIT 1;

-- set_cursor: all that it shows has its place, or waits for it as from before the log
UPDATE directory.log_cursor SET seen = $1::text::pg_snapshot, is_begun = false,
  server = (SELECT system_identifier FROM pg_control_system());
