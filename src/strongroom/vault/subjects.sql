-- subject_keys_of: wrapped keys, whether they were destroyed, and the journal that they go by
SELECT item.subject_id, k.wrapped, t.destroyed_at IS NOT NULL AS destroyed,
  (SELECT j.journal_id FROM journal j WHERE j.journal = 1) AS journal_id
FROM unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, subject_id)
LEFT JOIN subject_keys k
  ON k.legal_entity_id = item.legal_entity_id AND k.subject_id = item.subject_id
LEFT JOIN tombstones t
  ON t.legal_entity_id = item.legal_entity_id AND t.subject_id = item.subject_id;

-- add_subject_keys: keys of new subjects; of two that are made at once the first is kept
INSERT INTO subject_keys (legal_entity_id, subject_id, entity_key_version, wrapped, created_at)
SELECT item.legal_entity_id, item.subject_id, $4, item.wrapped, $5
FROM unnest($1::uuid[], $2::uuid[], $3::bytea[]) AS item (legal_entity_id, subject_id, wrapped)
WHERE NOT EXISTS (SELECT FROM tombstones t
  WHERE t.legal_entity_id = item.legal_entity_id AND t.subject_id = item.subject_id)
ON CONFLICT DO NOTHING
RETURNING subject_id, (SELECT j.journal_id FROM journal j WHERE j.journal = 1) AS journal_id;

-- journal: the journal of tombstones of these keys
SELECT journal_id FROM journal WHERE journal = 1;

-- set_journal: once, when it is made
INSERT INTO journal (journal, journal_id, made_at) VALUES (1, $1, $2) ON CONFLICT DO NOTHING;

-- tombstones_after: a page of them, in the order of their subjects
SELECT subject_id, destroyed_at FROM tombstones
WHERE legal_entity_id = $1 AND subject_id > $2 ORDER BY subject_id LIMIT $3;

-- add_tombstones: that these subjects were destroyed
INSERT INTO tombstones (legal_entity_id, subject_id, destroyed_at)
SELECT legal_entity_id, subject_id, destroyed_at
FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[])
  AS item (legal_entity_id, subject_id, destroyed_at)
ON CONFLICT DO NOTHING;

-- destroy_subject_keys: for good
DELETE FROM subject_keys k
USING unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, subject_id)
WHERE k.legal_entity_id = item.legal_entity_id AND k.subject_id = item.subject_id
RETURNING k.subject_id;

-- hold_subject_keys: waits for whoever is making one of these keys, and holds their places
INSERT INTO subject_keys (legal_entity_id, subject_id, entity_key_version, wrapped, created_at)
SELECT legal_entity_id, subject_id, 1, '', destroyed_at
FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[])
  AS item (legal_entity_id, subject_id, destroyed_at)
ON CONFLICT DO NOTHING RETURNING subject_id;

-- subject_keys_left: a page of those that an older key of their entity wraps
SELECT subject_id, wrapped FROM subject_keys
WHERE legal_entity_id = $1 AND subject_id > $2 AND entity_key_version < $3
ORDER BY subject_id LIMIT $4;

-- count_subject_keys_left: how many an older key of their entity wraps
SELECT count(*) FROM subject_keys WHERE legal_entity_id = $1 AND entity_key_version < $2;

-- rewrap_subject_keys: the same keys under a newer key, unless they changed or went meanwhile
UPDATE subject_keys k SET wrapped = item.wrapped, entity_key_version = $5
FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bytea[])
  AS item (legal_entity_id, subject_id, before, wrapped)
WHERE k.legal_entity_id = item.legal_entity_id AND k.subject_id = item.subject_id
  AND k.wrapped = item.before
RETURNING k.subject_id;
