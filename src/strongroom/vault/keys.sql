-- entity_keys_of: all versions of the keys of one legal entity, oldest first
SELECT version, root_key, wrapped, created_at FROM entity_keys
WHERE legal_entity_id = $1 ORDER BY version;

-- newest_entity_key: the version that seals
SELECT max(version) FROM entity_keys WHERE legal_entity_id = $1;

-- add_entity_key: a version that is not there yet; of two that are made at once, one is kept
INSERT INTO entity_keys (legal_entity_id, version, root_key, wrapped, created_at)
VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING version;

-- rewrap_entity_key: the same key under another root key, unless it was rewrapped meanwhile
UPDATE entity_keys SET root_key = $3, wrapped = $4
WHERE legal_entity_id = $1 AND version = $2 AND wrapped = $5 RETURNING version;
