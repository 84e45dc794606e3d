-- Payouts of gateways to the merchant's bank, and what each is made of. A payout has an id and
-- versions as a payment has, so its events stand beside those of payments.
CREATE TABLE strongroom.payouts (
  legal_entity_id uuid NOT NULL,
  payout_id uuid NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  status text NOT NULL CHECK (status IN ('pending', 'in_transit', 'paid', 'failed', 'canceled')),
  status_reason text,
  amount_minor bigint NOT NULL, -- below zero: what the merchant's bank is asked for
  currency text NOT NULL CHECK (octet_length(currency) = 3),
  arrives_at timestamptz NOT NULL,
  itemised boolean NOT NULL, -- all that it is made of is known
  gateway text NOT NULL,
  gateway_account_id uuid NOT NULL,
  gateway_object_id text NOT NULL,
  opened_at timestamptz NOT NULL,
  digest_salt bytea NOT NULL CHECK (octet_length(digest_salt) = 16),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, payout_id)
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX payouts_at_gateway
  ON strongroom.payouts (legal_entity_id, gateway_account_id, gateway_object_id);

-- One movement of the balance that a payout has paid out, and what of ours it is, if anything.
CREATE TABLE strongroom.payout_items (
  legal_entity_id uuid NOT NULL,
  payout_id uuid NOT NULL,
  gateway_item text NOT NULL,
  kind text NOT NULL,
  amount_minor bigint NOT NULL,
  fee_minor bigint NOT NULL,
  currency text NOT NULL CHECK (octet_length(currency) = 3),
  gateway_source text,
  payment_id uuid,
  refund_id uuid,
  dispute_id uuid,
  PRIMARY KEY (legal_entity_id, payout_id, gateway_item),
  CHECK (num_nonnulls(payment_id, refund_id, dispute_id) <= 1)
);

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['payouts', 'payout_items'] LOOP
    EXECUTE format('ALTER TABLE strongroom.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE strongroom.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY of_entity ON strongroom.%I USING (legal_entity_id = ANY ('
      '(SELECT string_to_array(current_setting(''strongroom.legal_entities'', true), '','')'
      '::uuid[])::uuid[]))', name);
  END LOOP;
END $$;

GRANT SELECT ON strongroom.payouts, strongroom.payout_items TO strongroom_api;
GRANT SELECT, INSERT ON strongroom.payouts, strongroom.payout_items TO strongroom_worker;
GRANT UPDATE (version, status, status_reason, amount_minor, currency, arrives_at, itemised,
  updated_at) ON strongroom.payouts TO strongroom_worker;
