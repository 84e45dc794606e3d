-- Where one currency of a gateway account is paid to, at a gateway that wants a merchant account
-- for each. What an account takes is what stands here: no currency is left to a default.
CREATE TABLE strongroom.merchant_accounts (
  legal_entity_id uuid NOT NULL,
  gateway_account_id uuid NOT NULL,
  currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  paid_to text NOT NULL CHECK (paid_to ~ '^[A-Za-z0-9_-]{1,64}$'),
  three_d_secure boolean NOT NULL, -- nothing is taken without the customer's authentication
  set_at timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, gateway_account_id, currency)
);

ALTER TABLE strongroom.merchant_accounts ENABLE ROW LEVEL SECURITY;
ALTER TABLE strongroom.merchant_accounts FORCE ROW LEVEL SECURITY;
CREATE POLICY of_entity ON strongroom.merchant_accounts USING (legal_entity_id = ANY (
  (SELECT string_to_array(current_setting('strongroom.legal_entities', true), ',')
  ::uuid[])::uuid[]));

GRANT SELECT ON strongroom.merchant_accounts TO strongroom_api, strongroom_worker;
