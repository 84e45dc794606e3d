-- Accepted payments that are all due: what the accept statement leaves, for :count of them.
INSERT INTO payments (legal_entity_id, payment_id, version, status, amount_minor, captured_minor,
  currency, merchant_reference, description, metadata, return_url, gateway, gateway_account_id,
  instrument_token, attempt_no, not_after, gateway_key_seed, digest_salt, created_at, updated_at)
SELECT :entity::uuid, uuidv7(), 1, 'processing', 1999, 0, 'EUR',
  'order-' || left(gen_random_uuid()::text, 18), NULL, '{}', NULL,
  'stripe', :account::uuid, 'pm_card_visa', 1, now() + interval '1 day',
  uuid_send(gen_random_uuid()), uuid_send(gen_random_uuid()), now(), now()
FROM generate_series(1, :count);
INSERT INTO idempotency_keys
  (legal_entity_id, idempotency_key, operation, fingerprint, payment_id, created_at)
SELECT legal_entity_id, gen_random_uuid()::text, 'payments.create',
  '\x01'::bytea || sha256(digest_salt), payment_id, created_at
FROM payments;
INSERT INTO merchant_references (legal_entity_id, merchant_reference, payment_id)
SELECT legal_entity_id, merchant_reference, payment_id FROM payments;
INSERT INTO jobs (legal_entity_id, payment_id, bucket, run_at)
SELECT legal_entity_id, payment_id, :bucket, created_at FROM payments ORDER BY payment_id;
INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest, payload)
SELECT legal_entity_id, payment_id, 1, 'payment.accepted', 'bench', created_at,
  sha256(digest_salt), '{}'
FROM payments ORDER BY payment_id;
INSERT INTO texts (legal_entity_id, owner_id, sealed)
SELECT legal_entity_id, payment_id, decode(repeat('5a', 169), 'hex') FROM payments;
