-- Payment methods: saved instruments of customers, with a token for each gateway account that knows
-- it. What is shown of a card lies sealed under its customer's key.
CREATE TABLE strongroom.payment_methods (
  legal_entity_id uuid NOT NULL,
  payment_method_id uuid NOT NULL,
  customer_id uuid NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  status text NOT NULL CHECK (status IN ('processing', 'requires_action', 'ready', 'failed',
    'detaching', 'detached')),
  status_reason text,
  sealed bytea,
  next_action jsonb,
  return_url text,
  not_after timestamptz NOT NULL,
  digest_salt bytea NOT NULL CHECK (octet_length(digest_salt) = 16),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, payment_method_id)
);
CREATE INDEX payment_methods_of_customer
  ON strongroom.payment_methods (legal_entity_id, customer_id, payment_method_id);

-- What a gateway account calls the instrument: as it was offered, the object that saves it, and the
-- token that can be charged later. A token that was saved once is never another method's.
CREATE TABLE strongroom.payment_method_tokens (
  legal_entity_id uuid NOT NULL,
  payment_method_id uuid NOT NULL,
  gateway_account_id uuid NOT NULL,
  gateway text NOT NULL,
  offered text NOT NULL,
  setup_object text,
  token text,
  PRIMARY KEY (legal_entity_id, payment_method_id, gateway_account_id)
);
CREATE UNIQUE INDEX payment_method_tokens_once
  ON strongroom.payment_method_tokens (legal_entity_id, gateway_account_id, token)
  WHERE token IS NOT NULL;

-- Whom a gateway account knows a customer as; opened before the gateway is asked.
CREATE TABLE strongroom.gateway_customers (
  legal_entity_id uuid NOT NULL,
  customer_id uuid NOT NULL,
  gateway_account_id uuid NOT NULL,
  gateway_object_id text,
  opened_at timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, customer_id, gateway_account_id)
);

-- As jobs, for payment methods.
CREATE TABLE strongroom.payment_method_jobs (
  legal_entity_id uuid NOT NULL,
  payment_method_id uuid NOT NULL,
  bucket smallint NOT NULL,
  run_at timestamptz NOT NULL,
  lease integer NOT NULL DEFAULT 0,
  tries integer NOT NULL DEFAULT 0,
  PRIMARY KEY (legal_entity_id, payment_method_id)
) WITH (fillfactor = 70);
CREATE INDEX payment_method_jobs_due ON strongroom.payment_method_jobs (bucket, run_at);

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['payment_methods', 'payment_method_tokens', 'gateway_customers',
    'payment_method_jobs'] LOOP
    EXECUTE format('ALTER TABLE strongroom.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE strongroom.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY of_entity ON strongroom.%I USING (legal_entity_id = ANY ('
      '(SELECT string_to_array(current_setting(''strongroom.legal_entities'', true), '','')'
      '::uuid[])::uuid[]))', name);
  END LOOP;
END $$;
CREATE POLICY of_bucket ON strongroom.payment_method_jobs TO strongroom_worker USING (bucket = ANY (
  (SELECT string_to_array(current_setting('strongroom.buckets', true), ',')
  ::smallint[])::smallint[]));

-- Least grants. The API writes down what a caller asks; what comes of it is the worker's to write.
GRANT SELECT ON strongroom.payment_methods TO strongroom_api, strongroom_worker;
GRANT INSERT (legal_entity_id, payment_method_id, customer_id, version, status, return_url,
  not_after, digest_salt, created_at, updated_at) ON strongroom.payment_methods TO strongroom_api;
GRANT UPDATE (version, status, status_reason, updated_at)
  ON strongroom.payment_methods TO strongroom_api;
GRANT UPDATE (version, status, status_reason, sealed, next_action, updated_at)
  ON strongroom.payment_methods TO strongroom_worker;
GRANT SELECT ON strongroom.payment_method_tokens TO strongroom_api, strongroom_worker;
GRANT INSERT (legal_entity_id, payment_method_id, gateway_account_id, gateway, offered)
  ON strongroom.payment_method_tokens TO strongroom_api;
GRANT UPDATE (setup_object, token) ON strongroom.payment_method_tokens TO strongroom_worker;
GRANT SELECT, INSERT ON strongroom.gateway_customers TO strongroom_worker;
GRANT UPDATE (gateway_object_id, opened_at) ON strongroom.gateway_customers TO strongroom_worker;
GRANT INSERT (legal_entity_id, payment_method_id, bucket, run_at)
  ON strongroom.payment_method_jobs TO strongroom_api;
GRANT SELECT, UPDATE, DELETE ON strongroom.payment_method_jobs TO strongroom_worker;
GRANT INSERT ON strongroom.customer_events TO strongroom_worker;
