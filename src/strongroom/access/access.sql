-- keys_by_id: API keys by entity and id, revoked ones too
SELECT k.legal_entity_id, k.api_key_id, k.secret_digest, k.scopes, k.revoked_at
FROM unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, api_key_id)
JOIN api_keys k USING (legal_entity_id, api_key_id);

-- add_key: a new API key; only a digest of its secret is stored
INSERT INTO api_keys (legal_entity_id, api_key_id, secret_digest, name, scopes, created_at)
VALUES ($1, $2, $3, $4, $5, $6);

-- list_keys: the keys of one legal entity, oldest first, without their digests
SELECT api_key_id, name, scopes, created_at, revoked_at FROM api_keys
WHERE legal_entity_id = $1 ORDER BY api_key_id;

-- revoke_key: from now on; a second revocation keeps the first moment, and says that it is none
UPDATE api_keys SET revoked_at = coalesce(revoked_at, $3)
WHERE legal_entity_id = $1 AND api_key_id = $2 RETURNING revoked_at = $3 AS is_first;

-- add_entity: a new legal entity, unless another one has its tag
INSERT INTO directory.legal_entities (legal_entity_id, tag, bucket, name, created_at)
VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING legal_entity_id;

-- entities: all legal entities, oldest first
SELECT legal_entity_id, tag, bucket, name, created_at FROM directory.legal_entities
ORDER BY legal_entity_id;

-- entity_by_tag: the legal entity whose tag an id carries
SELECT legal_entity_id FROM directory.legal_entities WHERE tag = $1;

-- deployment: what init wrote
SELECT mode, log_origin FROM directory.deployment WHERE deployment = 1;

-- add_deployment: once
INSERT INTO directory.deployment (deployment, mode, log_origin, created_at)
VALUES (1, $1, $2, $3) ON CONFLICT DO NOTHING;
