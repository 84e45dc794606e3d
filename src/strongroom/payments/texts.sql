-- texts_of: the sealed texts of payments and refunds that have some
SELECT t.owner_id, t.sealed FROM unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, owner_id)
CROSS JOIN LATERAL (SELECT * FROM texts found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.owner_id = item.owner_id LIMIT 1) t;

-- add_texts: the texts of refunds that are made in this transaction
INSERT INTO texts (legal_entity_id, owner_id, sealed)
SELECT legal_entity_id, owner_id, sealed
FROM unnest($1::uuid[], $2::uuid[], $3::bytea[]) AS item (legal_entity_id, owner_id, sealed);

-- count_stale_texts: how many of one entity are sealed under an older version than this
SELECT count(*) FROM texts WHERE legal_entity_id = $1 AND substring(sealed, 4, 4) < $2;

-- count_plain: how many payments and refunds of one entity hold texts in the clear
SELECT (SELECT count(*) FROM payments
    WHERE legal_entity_id = $1 AND (description IS NOT NULL OR metadata <> '{}'))
  + (SELECT count(*) FROM refunds WHERE legal_entity_id = $1 AND metadata <> '{}');

-- stale_texts: a page of them, behind the last one seen; bytes 4 to 7 are the key's version
SELECT owner_id, sealed FROM texts
WHERE legal_entity_id = $1 AND substring(sealed, 4, 4) < $2 AND owner_id > $3
ORDER BY legal_entity_id, owner_id LIMIT $4;

-- reseal_texts: the same texts under another key, unless they were changed or erased meanwhile
UPDATE texts t SET sealed = item.resealed
FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bytea[])
  AS item (legal_entity_id, owner_id, sealed, resealed)
WHERE t.legal_entity_id = item.legal_entity_id AND t.owner_id = item.owner_id
  AND t.sealed = item.sealed
RETURNING t.owner_id;

-- plain_payments: a page of one entity's payments whose texts an older version wrote in the clear
SELECT * FROM payments
WHERE legal_entity_id = $1 AND payment_id > $2 AND (description IS NOT NULL OR metadata <> '{}')
ORDER BY legal_entity_id, payment_id LIMIT $3 FOR UPDATE SKIP LOCKED;

-- seal_payments: their texts leave the row, which is one version on, and so does its salt
UPDATE payments p SET version = item.version, description = NULL, metadata = '{}',
  updated_at = $4, digest_salt = item.digest_salt
FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $5::bytea[])
  AS item (legal_entity_id, payment_id, version, digest_salt)
WHERE p.legal_entity_id = item.legal_entity_id AND p.payment_id = item.payment_id
  AND p.version = item.version - 1
RETURNING p.payment_id;

-- plain_refunds: a page of one entity's refunds whose texts an older version wrote in the clear
SELECT * FROM refunds
WHERE legal_entity_id = $1 AND refund_id > $2 AND metadata <> '{}'
ORDER BY legal_entity_id, refund_id LIMIT $3;

-- seal_refunds: their texts leave the row
UPDATE refunds r SET metadata = '{}', updated_at = $3, digest_salt = item.digest_salt
FROM unnest($1::uuid[], $2::uuid[], $4::bytea[]) AS item (legal_entity_id, refund_id, digest_salt)
WHERE r.legal_entity_id = item.legal_entity_id AND r.refund_id = item.refund_id
RETURNING r.refund_id;

-- events_of_versions: what the events of these versions say of the row that resulted
SELECT e.payment_id, e.row_digest, e.row_format
FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS item (legal_entity_id, payment_id, version)
CROSS JOIN LATERAL (SELECT * FROM events found
  WHERE found.legal_entity_id = item.legal_entity_id AND found.payment_id = item.payment_id
    AND found.version = item.version LIMIT 1) e;

-- has_sealed: whether anything of one entity is sealed that its keys have to open
SELECT EXISTS (SELECT FROM texts WHERE legal_entity_id = $1)
  OR EXISTS (SELECT FROM secrets WHERE legal_entity_id = $1 AND sealed IS NOT NULL)
  OR EXISTS (SELECT FROM customers WHERE legal_entity_id = $1)
  OR EXISTS (SELECT FROM dispute_answers WHERE legal_entity_id = $1 AND sealed IS NOT NULL);

-- sealed_events: what happened to the payments whose texts, or those of a refund, were sealed
INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest, row_format,
  payload)
SELECT legal_entity_id, payment_id, version, kind, $7, $8, row_digest, 4, payload
FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::text[], $5::bytea[], $6::bytea[])
  AS item (legal_entity_id, payment_id, version, kind, row_digest, payload);

-- raise_versions: payments that an event of one of their refunds takes one version on
UPDATE payments p SET version = item.version, updated_at = $4
FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS item (legal_entity_id, payment_id, version)
WHERE p.legal_entity_id = item.legal_entity_id AND p.payment_id = item.payment_id
  AND p.version = item.version - 1
RETURNING p.payment_id;
