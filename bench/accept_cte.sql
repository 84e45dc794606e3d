-- One payment a transaction, as one statement: the accept statement of
-- src/strongroom/payments/payments.sql for one item, with values made on the server. The look at
-- merchant_references is a sub-select, which is never planned as a join over the whole table.
\set amount random(100, 500000)
WITH item AS MATERIALIZED (
  SELECT :entity::uuid AS legal_entity_id, uuidv7() AS payment_id,
    gen_random_uuid()::text AS idempotency_key,
    'order-' || left(gen_random_uuid()::text, 18) AS merchant_reference,
    now() AS created_at
), won_key AS (
  INSERT INTO idempotency_keys AS k
    (legal_entity_id, idempotency_key, operation, fingerprint, payment_id, created_at)
  SELECT legal_entity_id, idempotency_key, 'payments.create',
    '\x02c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2', payment_id, created_at
  FROM item
  WHERE (SELECT r.payment_id FROM merchant_references r
    WHERE r.legal_entity_id = item.legal_entity_id
      AND r.merchant_reference = item.merchant_reference) IS NULL
  ON CONFLICT DO NOTHING
  RETURNING k.legal_entity_id, k.payment_id
), won_reference AS (
  INSERT INTO merchant_references AS r (legal_entity_id, merchant_reference, payment_id)
  SELECT item.legal_entity_id, item.merchant_reference, item.payment_id
  FROM item, won_key
  ON CONFLICT DO NOTHING
  RETURNING r.legal_entity_id, r.payment_id
), won AS MATERIALIZED (
  SELECT item.* FROM item, won_reference
), new_payment AS (
  INSERT INTO payments (legal_entity_id, payment_id, version, status, amount_minor, captured_minor,
    currency, merchant_reference, description, metadata, return_url, gateway, gateway_account_id,
    instrument_token, attempt_no, not_after, gateway_key_seed, digest_salt, created_at, updated_at)
  SELECT legal_entity_id, payment_id, 1, 'processing', :amount, 0, 'EUR', merchant_reference,
    NULL, '{}', NULL, 'stripe', :account::uuid, 'pm_card_visa', 1,
    created_at + interval '15 minutes', '\x00112233445566778899aabbccddeeff',
    '\xffeeddccbbaa99887766554433221100', created_at, created_at
  FROM won
), new_texts AS (
  INSERT INTO texts (legal_entity_id, owner_id, sealed)
  SELECT legal_entity_id, payment_id, decode(repeat('5a', 169), 'hex') FROM won
), new_job AS (
  INSERT INTO jobs (legal_entity_id, payment_id, bucket, run_at)
  SELECT legal_entity_id, payment_id, :bucket, created_at FROM won
), new_event AS (
  INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest, payload)
  SELECT legal_entity_id, payment_id, 1, 'payment.accepted', 'key_01kgrz5p8w8q9v3e2c4m6n7x1d',
    created_at, '\xc3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2',
    '{"amount_minor": 1999, "currency": "EUR", "gateway": "stripe", '
    '"idempotency_key": "7d0a41c9f2b85e6374d1a09c8b2e5f61d83c", '
    '"merchant_reference": "order-1f2e3d4c5b6a798801", '
    '"not_after": "2026-01-31T00Z plus the rest", '
    '"payment": "pay_01kgrz5p8w8q9v3e2c4m6n7x1d", "status": "processing", '
    '"texts": "c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2"}'
  FROM won
)
SELECT won_key.payment_id, won_reference.payment_id IS NOT NULL AS has_reference
FROM won_key LEFT JOIN won_reference USING (legal_entity_id, payment_id);
