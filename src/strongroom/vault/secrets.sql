-- secrets_of: the versions in use of one secret, newest first
SELECT version, sealed FROM secrets
WHERE legal_entity_id = $1 AND owner_id = $2 AND kind = $3 AND retired_at IS NULL
ORDER BY version DESC;

-- lock_secrets: all versions of one secret, kept from others who would change them
SELECT version, sealed, retired_at FROM secrets
WHERE legal_entity_id = $1 AND owner_id = $2 AND kind = $3
ORDER BY version FOR UPDATE;

-- add_secret: one more version
INSERT INTO secrets (legal_entity_id, owner_id, kind, version, sealed, created_at, rotate_by)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- retire_secret: ends a version; what it was goes with it
UPDATE secrets SET sealed = NULL, retired_at = $5
WHERE legal_entity_id = $1 AND owner_id = $2 AND kind = $3 AND version = $4;

-- list_secrets: every version there ever was of some legal entities, without what it is
SELECT legal_entity_id, owner_id, kind, version, created_at, rotate_by, retired_at FROM secrets
WHERE legal_entity_id = ANY ($1::uuid[])
ORDER BY legal_entity_id, owner_id, kind, version;

-- secrets_due: by kind, when the first secret of some legal entities has to be another one
SELECT kind, min(rotate_by) AS rotate_by FROM (
  SELECT DISTINCT ON (legal_entity_id, owner_id, kind) kind, rotate_by FROM secrets
  WHERE legal_entity_id = ANY ($1::uuid[]) AND retired_at IS NULL
  ORDER BY legal_entity_id, owner_id, kind, version DESC) AS newest
GROUP BY kind;

-- count_stale_secrets: how many of one entity are sealed under an older version than this
SELECT count(*) FROM secrets
WHERE legal_entity_id = $1 AND sealed IS NOT NULL AND substring(sealed, 4, 4) < $2;

-- stale_secrets: all of them; there are few
SELECT owner_id, kind, version, sealed FROM secrets
WHERE legal_entity_id = $1 AND sealed IS NOT NULL AND substring(sealed, 4, 4) < $2
ORDER BY owner_id, kind, version FOR UPDATE;

-- reseal_secret: the same secret under another key
UPDATE secrets SET sealed = $5
WHERE legal_entity_id = $1 AND owner_id = $2 AND kind = $3 AND version = $4
  AND sealed IS NOT NULL;
