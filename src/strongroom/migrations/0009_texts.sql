-- What callers write about a payment or a refund, description and metadata, sealed under the key of
-- their legal entity. In a table of its own: whoever works on a payment never touches it, the row
-- of the payment stays short, and erasing it is deleting a row. The event of the acceptance holds a
-- commitment to what is in it.
CREATE TABLE strongroom.texts (
  legal_entity_id uuid NOT NULL,
  owner_id uuid NOT NULL, -- a payment, or a refund
  sealed bytea NOT NULL,
  PRIMARY KEY (legal_entity_id, owner_id)
);
ALTER TABLE strongroom.texts ENABLE ROW LEVEL SECURITY;
ALTER TABLE strongroom.texts FORCE ROW LEVEL SECURITY;
CREATE POLICY of_entity ON strongroom.texts USING (legal_entity_id = ANY (
  (SELECT string_to_array(current_setting('strongroom.legal_entities', true), ',')
  ::uuid[])::uuid[]));

-- Who settles has no need of them.
GRANT SELECT, INSERT ON strongroom.texts TO strongroom_api;

-- As new_payment, which the version before goes on using, and with the texts sealed. Description
-- and metadata are given in the clear only while that version serves.
CREATE TYPE strongroom.accepted_payment AS (
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
  created_at timestamptz
);
