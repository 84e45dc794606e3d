-- add_reviews: these are frozen from now on
INSERT INTO reviews (legal_entity_id, owner_id, lane, bucket, review, since)
SELECT legal_entity_id, owner_id, lane, bucket, review, since
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::smallint[], $5::text[], $6::timestamptz[])
  AS item (legal_entity_id, owner_id, lane, bucket, review, since)
ORDER BY legal_entity_id, owner_id
ON CONFLICT DO NOTHING;

-- remove_reviews: these go on
DELETE FROM reviews r
USING unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, owner_id)
WHERE r.legal_entity_id = item.legal_entity_id AND r.owner_id = item.owner_id;
