-- Tax: what a gateway calculated, which payment is taxed by it, and what was reported of it.

-- A calculation. What was asked, with the customer's address, stands here sealed until the gateway
-- has answered; of the answer what is needed to charge and to show, nothing of the customer.
CREATE TABLE strongroom.tax_calculations (
  legal_entity_id uuid NOT NULL,
  calculation_id uuid NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  status text NOT NULL CHECK (status IN ('processing', 'ready', 'failed')),
  status_reason text,
  currency text NOT NULL CHECK (octet_length(currency) = 3),
  sealed bytea,
  total_minor bigint CHECK (total_minor >= 0),
  exclusive_minor bigint CHECK (exclusive_minor >= 0),
  inclusive_minor bigint CHECK (inclusive_minor >= 0),
  lines jsonb,
  gateway text NOT NULL,
  gateway_account_id uuid NOT NULL,
  gateway_object_id text,
  expires_at timestamptz,
  digest_salt bytea NOT NULL CHECK (octet_length(digest_salt) = 16),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, calculation_id),
  CHECK ((status = 'processing') = (sealed IS NOT NULL)),
  CHECK ((status = 'ready') = (num_nonnulls(total_minor, exclusive_minor, inclusive_minor, lines,
    gateway_object_id, expires_at) = 6))
) WITH (fillfactor = 70);

-- Which payment a calculation is used for. Another takes its place only once that one can take no
-- money any more.
CREATE TABLE strongroom.payment_taxes (
  legal_entity_id uuid NOT NULL,
  calculation_id uuid NOT NULL,
  payment_id uuid NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, calculation_id)
) WITH (fillfactor = 90);
CREATE UNIQUE INDEX payment_taxes_of_payment
  ON strongroom.payment_taxes (legal_entity_id, payment_id);

-- What is reported of a calculation: the sale, what of it was not captured, what refunds gave back,
-- and what of that came back again. `source_id` is the payment or the refund.
CREATE TABLE strongroom.tax_transactions (
  legal_entity_id uuid NOT NULL,
  calculation_id uuid NOT NULL,
  source_id uuid NOT NULL,
  kind text NOT NULL CHECK (kind IN ('sale', 'uncaptured', 'reversal', 'restoral')),
  status text NOT NULL CHECK (status IN ('open', 'made', 'refused')),
  status_reason text,
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  gateway_object_id text,
  opened_at timestamptz NOT NULL, -- since when it is sent under its present key
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, calculation_id, source_id, kind)
) WITH (fillfactor = 70);

-- A calculation that something is still to be done for.
CREATE TABLE strongroom.tax_jobs (
  legal_entity_id uuid NOT NULL,
  calculation_id uuid NOT NULL,
  bucket smallint NOT NULL,
  run_at timestamptz NOT NULL,
  lease integer NOT NULL DEFAULT 0,
  tries integer NOT NULL DEFAULT 0,
  PRIMARY KEY (legal_entity_id, calculation_id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01,
  autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX tax_jobs_due ON strongroom.tax_jobs (bucket, run_at);

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['tax_calculations', 'payment_taxes', 'tax_transactions', 'tax_jobs']
  LOOP
    EXECUTE format('ALTER TABLE strongroom.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE strongroom.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY of_entity ON strongroom.%I USING (legal_entity_id = ANY ('
      '(SELECT string_to_array(current_setting(''strongroom.legal_entities'', true), '','')'
      '::uuid[])::uuid[]))', name);
  END LOOP;
END $$;
CREATE POLICY of_bucket ON strongroom.tax_jobs TO strongroom_worker USING (bucket = ANY (
  (SELECT string_to_array(current_setting('strongroom.buckets', true), ',')
  ::smallint[])::smallint[]));

-- Least grants. The API writes down what is asked, and which payment names a calculation; what the
-- gateway says of it, and what is reported to it, is the worker's to write.
GRANT SELECT (legal_entity_id, calculation_id, version, status, status_reason, currency,
  total_minor, exclusive_minor, inclusive_minor, lines, gateway, gateway_account_id,
  gateway_object_id, expires_at, digest_salt, created_at, updated_at)
  ON strongroom.tax_calculations TO strongroom_api;
GRANT INSERT (legal_entity_id, calculation_id, version, status, currency, sealed, gateway,
  gateway_account_id, digest_salt, created_at, updated_at)
  ON strongroom.tax_calculations TO strongroom_api;
GRANT SELECT ON strongroom.tax_calculations TO strongroom_worker;
GRANT UPDATE (version, status, status_reason, sealed, total_minor, exclusive_minor,
  inclusive_minor, lines, gateway_object_id, expires_at, updated_at)
  ON strongroom.tax_calculations TO strongroom_worker;
GRANT SELECT ON strongroom.payment_taxes TO strongroom_api, strongroom_worker;
GRANT INSERT ON strongroom.payment_taxes TO strongroom_api;
GRANT UPDATE (payment_id, created_at) ON strongroom.payment_taxes TO strongroom_api;
GRANT SELECT ON strongroom.tax_transactions TO strongroom_api, strongroom_worker;
GRANT INSERT ON strongroom.tax_transactions TO strongroom_worker;
GRANT UPDATE (status, status_reason, gateway_object_id, opened_at, updated_at)
  ON strongroom.tax_transactions TO strongroom_worker;
GRANT SELECT ON strongroom.tax_jobs TO strongroom_api;
GRANT INSERT (legal_entity_id, calculation_id, bucket, run_at)
  ON strongroom.tax_jobs TO strongroom_api;
GRANT UPDATE (run_at, lease, tries) ON strongroom.tax_jobs TO strongroom_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON strongroom.tax_jobs TO strongroom_worker;
