-- One payment a transaction, as one statement: `accept_new` of src/strongroom/payments/payments.sql
-- for one item, with values made on the server. Plain inserts, which fail where somebody holds the
-- key or the reference; nobody does here.
\set amount random(100, 500000)
WITH item AS MATERIALIZED (
  SELECT :entity::uuid AS legal_entity_id, uuidv7() AS payment_id,
    gen_random_uuid()::text AS idempotency_key,
    'order-' || left(gen_random_uuid()::text, 18) AS merchant_reference,
    now() AS created_at
), new_event AS (
  INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest,
    row_format, payload)
  SELECT legal_entity_id, payment_id, 1, 'payment.accepted', 'key_01kgrz5p8w8q9v3e2c4m6n7x1d',
    created_at, '\xc3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2', 4,
    '{"amount_minor": 1999, "currency": "EUR", "gateway": "stripe", '
    '"idempotency_key": "7d0a41c9f2b85e6374d1a09c8b2e5f61d83c", '
    '"merchant_reference": "order-1f2e3d4c5b6a798801", '
    '"not_after": "2026-01-31T00Z plus the rest", '
    '"payment": "pay_01kgrz5p8w8q9v3e2c4m6n7x1d", "status": "processing", '
    '"texts": "c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2"}'
  FROM item
), new_job AS (
  INSERT INTO jobs (legal_entity_id, payment_id, bucket, run_at)
  SELECT legal_entity_id, payment_id, :bucket, created_at FROM item
), new_payment AS (
  INSERT INTO payments (legal_entity_id, payment_id, version, status, amount_minor, captured_minor,
    currency, merchant_reference, description, metadata, return_url, gateway, gateway_account_id,
    instrument_token, attempt_no, not_after, gateway_key_seed, digest_salt, created_at, updated_at,
    capture, ways)
  SELECT legal_entity_id, payment_id, 1, 'processing', :amount, 0, 'EUR', merchant_reference,
    NULL, '{}', NULL, 'stripe', :account::uuid, 'pm_card_visa', 1,
    created_at + interval '15 minutes', '\x00112233445566778899aabbccddeeff',
    '\xffeeddccbbaa99887766554433221100', created_at, created_at, 'automatic', NULL
  FROM item
), new_texts AS (
  INSERT INTO texts (legal_entity_id, owner_id, sealed)
  SELECT legal_entity_id, payment_id, decode(repeat('5a', 169), 'hex') FROM item
), new_reference AS (
  INSERT INTO merchant_references (legal_entity_id, merchant_reference, payment_id)
  SELECT legal_entity_id, merchant_reference, payment_id FROM item
)
INSERT INTO idempotency_keys
  (legal_entity_id, idempotency_key, operation, fingerprint, payment_id, created_at)
SELECT legal_entity_id, idempotency_key, 'payments.create',
  '\x02c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2', payment_id, created_at
FROM item;
