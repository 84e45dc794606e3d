-- What the accept statements take: one value a payment, in one array a batch. An array a column
-- costs the API twice as much to write. A version that accepts more than this makes a type of its
-- own, so that this one goes on serving; it may go when no process of this version is left.
CREATE TYPE strongroom.new_payment AS (
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
  created_at timestamptz
);
