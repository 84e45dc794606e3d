-- Until when a worker leaves a gateway account alone, for rules of routes that ask for its health.
CREATE TABLE strongroom.account_rests (
  legal_entity_id uuid NOT NULL,
  gateway_account_id uuid NOT NULL,
  rests_until timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, gateway_account_id)
);

-- What a customer agreed to: to be charged by this payment method while away. Never changed; what
-- is agreed to later is a row of its own. From where it was given lies sealed under the customer's
-- key.
CREATE TABLE strongroom.consents (
  legal_entity_id uuid NOT NULL,
  payment_method_id uuid NOT NULL,
  recorded_at timestamptz NOT NULL,
  given_at timestamptz NOT NULL,
  purpose text NOT NULL CHECK (purpose IN ('unscheduled', 'recurring')),
  text_version text NOT NULL,
  sealed bytea,
  PRIMARY KEY (legal_entity_id, payment_method_id, recorded_at)
);

-- A payment whose instrument is to be saved once it has paid, and the payment method that it then
-- becomes: written before the payment is. `run_at` is when to look at it next; null: never again.
CREATE TABLE strongroom.payment_savings (
  legal_entity_id uuid NOT NULL,
  payment_id uuid NOT NULL,
  payment_method_id uuid NOT NULL,
  customer_id uuid NOT NULL,
  bucket smallint NOT NULL,
  run_at timestamptz,
  lease integer NOT NULL DEFAULT 0,
  tries integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, payment_id)
) WITH (fillfactor = 70);
CREATE INDEX payment_savings_due ON strongroom.payment_savings (bucket, run_at)
  WHERE run_at IS NOT NULL;

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['account_rests', 'consents', 'payment_savings'] LOOP
    EXECUTE format('ALTER TABLE strongroom.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE strongroom.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY of_entity ON strongroom.%I USING (legal_entity_id = ANY ('
      '(SELECT string_to_array(current_setting(''strongroom.legal_entities'', true), '','')'
      '::uuid[])::uuid[]))', name);
  END LOOP;
END $$;
CREATE POLICY of_bucket ON strongroom.payment_savings TO strongroom_worker USING (bucket = ANY (
  (SELECT string_to_array(current_setting('strongroom.buckets', true), ',')
  ::smallint[])::smallint[]));

GRANT SELECT ON strongroom.account_rests TO strongroom_api, strongroom_worker;
GRANT INSERT ON strongroom.account_rests TO strongroom_worker;
GRANT UPDATE (rests_until) ON strongroom.account_rests TO strongroom_worker;
GRANT SELECT, INSERT ON strongroom.consents TO strongroom_api;
GRANT SELECT, DELETE ON strongroom.consents TO strongroom_worker;
GRANT SELECT ON strongroom.payment_savings TO strongroom_api, strongroom_worker;
GRANT INSERT (legal_entity_id, payment_id, payment_method_id, customer_id, bucket, run_at,
  created_at) ON strongroom.payment_savings TO strongroom_api;
GRANT UPDATE (run_at, lease, tries), DELETE ON strongroom.payment_savings TO strongroom_worker;
-- Who detaches what a webhook has just had looked at finds its job there.
GRANT SELECT (legal_entity_id, payment_method_id, run_at, lease), UPDATE (run_at, lease)
  ON strongroom.payment_method_jobs TO strongroom_api;
-- What a payment has saved is written by the worker.
GRANT INSERT (legal_entity_id, payment_method_id, customer_id, version, status, return_url,
  not_after, digest_salt, created_at, updated_at) ON strongroom.payment_methods
  TO strongroom_worker;
GRANT INSERT (legal_entity_id, payment_method_id, gateway_account_id, gateway, offered,
  setup_object) ON strongroom.payment_method_tokens TO strongroom_worker;
