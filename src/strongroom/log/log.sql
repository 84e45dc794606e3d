-- claim_cursor: who holds it is the sequencer, until its transaction ends
SELECT seen::text AS seen, is_begun, server,
  (SELECT system_identifier FROM pg_control_system()) AS server_now
FROM directory.log_cursor FOR UPDATE SKIP LOCKED;

-- sequence: what a snapshot with xmax $1 and the open transactions $2 did not show gets its place
-- $4: it is the first time, and events that know no transaction get theirs before all others.
-- Of a payload that no bundle of the log has room for its digest stands there.
-- A version of a subject comes after those before it, though its transaction may have begun first.
WITH found AS MATERIALIZED (
  SELECT legal_entity_id, payment_id AS subject_id, version, kind, actor, at, row_format,
    row_digest, payload, xid, false AS of_customer
  FROM events WHERE xid >= $1
  UNION ALL
  SELECT legal_entity_id, payment_id, version, kind, actor, at, row_format, row_digest, payload,
    xid, false
  FROM events WHERE xid = ANY ($2::bigint[])
  UNION ALL
  SELECT legal_entity_id, owner_id, version, kind, actor, at, 0, row_digest, payload, xid, true
  FROM customer_events WHERE xid >= $1
  UNION ALL
  SELECT legal_entity_id, owner_id, version, kind, actor, at, 0, row_digest, payload, xid, true
  FROM customer_events WHERE xid = ANY ($2::bigint[])
  UNION ALL
  SELECT legal_entity_id, payment_id, version, kind, actor, at, row_format, row_digest, payload,
    0, false
  FROM events WHERE $4 AND xid IS NULL
  UNION ALL
  SELECT legal_entity_id, owner_id, version, kind, actor, at, 0, row_digest, payload, 0, true
  FROM customer_events WHERE $4 AND xid IS NULL
), placed AS MATERIALIZED (
  SELECT f.*, max(xid) OVER (PARTITION BY legal_entity_id, subject_id ORDER BY version) AS place
  FROM found f
), numbered AS MATERIALIZED (
  SELECT p.*, coalesce(h.size, 0) - 1 + row_number() OVER (
    PARTITION BY p.legal_entity_id ORDER BY p.place, p.subject_id, p.version) AS index
  FROM placed p LEFT JOIN log_heads h ON h.legal_entity_id = p.legal_entity_id
), written AS (
  INSERT INTO log_entries (legal_entity_id, index, subject_id, version, of_customer, sequenced_at,
    entry)
  SELECT legal_entity_id, index, subject_id, version, of_customer, $3, convert_to(concat_ws(' ',
      CASE WHEN octet_length(payload) <= 60000 THEN 'strongroom/1' ELSE 'strongroom/1+digest' END,
      kind, subject_id, version, (extract(epoch FROM at) * 1000000)::bigint, row_format,
      encode(row_digest, 'hex'), actor) || E'\n', 'UTF8') ||
    CASE WHEN octet_length(payload) <= 60000 THEN payload
    ELSE convert_to('sha256 ' || encode(sha256(payload), 'hex'), 'UTF8') END
  FROM numbered
), grown AS (
  INSERT INTO log_heads AS h (legal_entity_id, size)
  SELECT legal_entity_id, max(index) + 1 FROM numbered GROUP BY legal_entity_id
  ON CONFLICT (legal_entity_id) DO UPDATE SET size = excluded.size
)
SELECT pg_current_snapshot()::text AS now, (SELECT count(*) FROM numbered) AS entries;

-- move_cursor: what it shows has its place; $3 is from before the look
UPDATE directory.log_cursor SET seen = $1::text::pg_snapshot, is_begun = true, server = $2,
  moved_at = $3;

-- heads: how many entries each log has, and in which epoch it is
SELECT legal_entity_id, size, (SELECT coalesce(max(e.epoch), 1) FROM log_epochs e
  WHERE e.legal_entity_id = h.legal_entity_id) AS epoch
FROM log_heads h;

-- opening: the entry that opened an epoch
SELECT l.index, l.entry FROM log_epochs e
JOIN log_entries l ON l.legal_entity_id = e.legal_entity_id AND l.index = e.opened_at_index
WHERE e.legal_entity_id = $1 AND e.epoch = $2;

-- cursor: what the sequencer has seen, and what the database shows now
SELECT seen::text AS seen, is_begun, pg_current_snapshot()::text AS now, server,
  (SELECT system_identifier FROM pg_control_system()) AS server_now
FROM directory.log_cursor;

-- waiting: since when the oldest event waits for its place, by the order of transactions
-- $1 and $2 are those that the sequencer did not see, as in sequence; $3: it has not begun. Of each
-- kind only the first $4 are looked at, so that a long backlog costs no more than a short one.
WITH found AS (
  (SELECT legal_entity_id, at FROM events WHERE xid >= $1 ORDER BY xid LIMIT $4)
  UNION ALL
  (SELECT legal_entity_id, at FROM events WHERE xid = ANY ($2::bigint[]) LIMIT $4)
  UNION ALL
  (SELECT legal_entity_id, at FROM customer_events WHERE xid >= $1 ORDER BY xid LIMIT $4)
  UNION ALL
  (SELECT legal_entity_id, at FROM customer_events WHERE xid = ANY ($2::bigint[]) LIMIT $4)
  UNION ALL
  (SELECT legal_entity_id, at FROM events WHERE $3 AND xid IS NULL LIMIT $4)
  UNION ALL
  (SELECT legal_entity_id, at FROM customer_events WHERE $3 AND xid IS NULL LIMIT $4)
)
SELECT min(at) AS since FROM found;

-- unsigned: the logs that have entries which are not signed, as the database has it
SELECT h.legal_entity_id, coalesce(c.size, 0) AS signed, h.size FROM log_heads h
LEFT JOIN log_checkpoints c ON c.legal_entity_id = h.legal_entity_id
WHERE h.size > coalesce(c.size, 0);

-- placed: when the first of these logs' entries from an index on got its place
SELECT min(e.sequenced_at) AS since
FROM unnest($1::uuid[], $2::bigint[]) AS item (legal_entity_id, index)
CROSS JOIN LATERAL (SELECT found.sequenced_at FROM log_entries found
  WHERE found.legal_entity_id = item.legal_entity_id AND found.index >= item.index
  ORDER BY found.legal_entity_id, found.index LIMIT 1) e;

-- entries: those of one log from an index on
SELECT index, entry FROM log_entries WHERE legal_entity_id = $1 AND index >= $2
ORDER BY index LIMIT $3;

-- notes: what was signed last, as the database has it
SELECT legal_entity_id, note FROM log_checkpoints;

-- keep_checkpoint: the newest of a log
INSERT INTO log_checkpoints (legal_entity_id, size, note, signed_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (legal_entity_id) DO UPDATE SET size = excluded.size, note = excluded.note,
  signed_at = excluded.signed_at
WHERE log_checkpoints.size <= excluded.size OR -- or it is of an epoch before
  split_part(convert_from(log_checkpoints.note, 'UTF8'), E'\n', 1) <>
  split_part(convert_from(excluded.note, 'UTF8'), E'\n', 1);

-- keep_cosigned: the newest checkpoint of a log that a witness cosigned
UPDATE log_checkpoints SET cosigned = $2 WHERE legal_entity_id = $1;

-- moved_at: all that was committed before has its place
SELECT moved_at FROM directory.log_cursor;

-- windows: how far each of these logs has come, in which epoch, by which entry that was opened, and
-- what a witness cosigned of it
SELECT item.legal_entity_id, coalesce(h.size, 0) AS size, coalesce(o.epoch, 1) AS epoch,
  l.entry AS opening, c.cosigned
FROM unnest($1::uuid[]) AS item (legal_entity_id)
LEFT JOIN log_heads h ON h.legal_entity_id = item.legal_entity_id
LEFT JOIN log_checkpoints c ON c.legal_entity_id = item.legal_entity_id
LEFT JOIN LATERAL (SELECT e.epoch, e.opened_at_index FROM log_epochs e
  WHERE e.legal_entity_id = item.legal_entity_id
  ORDER BY e.legal_entity_id DESC, e.epoch DESC LIMIT 1) o ON true
LEFT JOIN log_entries l ON l.legal_entity_id = item.legal_entity_id AND l.index = o.opened_at_index;

-- uncovered: the beginning of the first of these logs' entries from an index on, and when it got
-- its place
SELECT item.legal_entity_id, e.sequenced_at, e.entry
FROM unnest($1::uuid[], $2::bigint[]) AS item (legal_entity_id, index)
CROSS JOIN LATERAL (SELECT found.sequenced_at, substring(found.entry FROM 1 FOR 1000) AS entry
  FROM log_entries found
  WHERE found.legal_entity_id = item.legal_entity_id AND found.index >= item.index
  ORDER BY found.legal_entity_id, found.index LIMIT 1) e;

-- entries_of: where a subject's events stand in its log
SELECT index, entry FROM log_entries WHERE legal_entity_id = $1 AND subject_id = $2
ORDER BY legal_entity_id, subject_id, version;

-- hold_notes: who notes something of a legal entity waits for others who do
SELECT legal_entity_id FROM directory.legal_entities WHERE legal_entity_id = $1 FOR UPDATE;

-- note: the next event of a subject that has no version in a row of its own; whoever writes it
-- holds the notes of the legal entity. The log knows versions whose events are archived.
INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest, payload)
SELECT $1, $2, 1 + greatest(0,
    (SELECT max(e.version) FROM events e WHERE e.legal_entity_id = $1 AND e.payment_id = $2),
    (SELECT max(l.version) FROM log_entries l WHERE l.legal_entity_id = $1 AND l.subject_id = $2
      AND NOT l.of_customer)),
  $3, $4, $5, $6, $7
RETURNING version;

-- entry_of: where one event of a subject stands in its log
SELECT index, entry FROM log_entries
WHERE legal_entity_id = $1 AND subject_id = $2 AND version = $3 AND NOT of_customer;
