-- Where a payment may go when its present account is over, and how it was last declined. The table
-- lies where an upgrade from the first version has put it, or at home again.
DO $$
DECLARE
  payments text := coalesce(to_regclass('strongroom_next.payments'),
    to_regclass('strongroom.payments'))::text;
BEGIN
  EXECUTE format('ALTER TABLE %s ADD COLUMN ways jsonb, ADD COLUMN decline jsonb', payments);
  EXECUTE format('GRANT UPDATE (ways) ON %s TO strongroom_api', payments);
  EXECUTE format('GRANT UPDATE (gateway, gateway_account_id, instrument_token, ways, decline) '
    'ON %s TO strongroom_worker', payments);
END $$;

-- As accepted_payment, which the version before goes on using, and with the ways.
CREATE TYPE strongroom.routed_payment AS (
  legal_entity_id uuid,
  payment_id uuid,
  idempotency_key text,
  fingerprint bytea,
  merchant_reference text,
  status text,
  amount_minor bigint,
  currency text,
  description text,
  metadata jsonb,
  texts bytea,
  return_url text,
  capture text,
  gateway text,
  gateway_account_id uuid,
  instrument_token text,
  not_after timestamptz,
  gateway_key_seed bytea,
  digest_salt bytea,
  bucket smallint,
  run_at timestamptz, -- null: at created_at
  actor text,
  row_digest bytea,
  payload bytea,
  created_at timestamptz,
  ways jsonb
);
