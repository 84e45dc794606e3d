-- What accept_plain_function.sql calls: the writes of accept_plain.sql one by one.
CREATE FUNCTION strongroom.bench_accept_plain(
  entity uuid, account uuid, bucket integer, amount bigint)
RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
  id uuid := uuidv7();
  key text := gen_random_uuid()::text;
  reference text := 'order-' || left(gen_random_uuid()::text, 18);
  moment timestamptz := now();
BEGIN
  INSERT INTO idempotency_keys
    (legal_entity_id, idempotency_key, operation, fingerprint, payment_id, created_at)
  VALUES (entity, key, 'payments.create',
    '\x02c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2', id, moment);
  INSERT INTO merchant_references (legal_entity_id, merchant_reference, payment_id)
  VALUES (entity, reference, id);
  INSERT INTO payments (legal_entity_id, payment_id, version, status, amount_minor, captured_minor,
    currency, merchant_reference, description, metadata, return_url, gateway, gateway_account_id,
    instrument_token, attempt_no, not_after, gateway_key_seed, digest_salt, created_at, updated_at,
    capture, ways)
  VALUES (entity, id, 1, 'processing', amount, 0, 'EUR', reference, NULL, '{}', NULL, 'stripe',
    account, 'pm_card_visa', 1,
    moment + interval '15 minutes', '\x00112233445566778899aabbccddeeff',
    '\xffeeddccbbaa99887766554433221100', moment, moment, 'automatic', NULL);
  INSERT INTO texts (legal_entity_id, owner_id, sealed)
  VALUES (entity, id, decode(repeat('5a', 169), 'hex'));
  INSERT INTO jobs (legal_entity_id, payment_id, bucket, run_at)
  VALUES (entity, id, bench_accept_plain.bucket, moment);
  INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest,
    row_format, payload)
  VALUES (entity, id, 1, 'payment.accepted', 'key_01kgrz5p8w8q9v3e2c4m6n7x1d', moment,
    '\xc3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2', 4,
    '{"amount_minor": 1999, "currency": "EUR", "gateway": "stripe", '
    '"idempotency_key": "7d0a41c9f2b85e6374d1a09c8b2e5f61d83c", '
    '"merchant_reference": "order-1f2e3d4c5b6a798801", '
    '"not_after": "2026-01-31T00Z plus the rest", '
    '"payment": "pay_01kgrz5p8w8q9v3e2c4m6n7x1d", "status": "processing", '
    '"texts": "c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2"}');
  RETURN id;
END $$;
