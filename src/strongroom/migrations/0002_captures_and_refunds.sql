-- Captures that are asked for apart from the authorization, and refunds. Only additions, none of
-- which reads a table through: an older version goes on serving.

-- A refund and its one attempt: opened, with its exact parameters, before anything is sent.
CREATE TABLE strongroom.refunds (
  legal_entity_id uuid NOT NULL,
  refund_id uuid NOT NULL,
  payment_id uuid NOT NULL,
  status text NOT NULL CHECK (status IN ('processing', 'pending', 'succeeded', 'failed',
    'outcome_unknown')),
  status_reason text,
  review text,
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  currency text NOT NULL CHECK (octet_length(currency) = 3),
  reason text,
  metadata jsonb NOT NULL,
  gateway text NOT NULL,
  gateway_account_id uuid NOT NULL,
  gateway_key text NOT NULL,
  gateway_object_id text,
  parameters jsonb,
  calls jsonb NOT NULL DEFAULT '[]',
  opened_at timestamptz,
  digest_salt bytea NOT NULL CHECK (octet_length(digest_salt) = 16),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, refund_id),
  CHECK ((opened_at IS NULL) = (parameters IS NULL))
) WITH (fillfactor = 50);
CREATE INDEX refunds_of_payment ON strongroom.refunds (legal_entity_id, payment_id, refund_id);

-- As jobs, for refunds.
CREATE TABLE strongroom.refund_jobs (
  legal_entity_id uuid NOT NULL,
  refund_id uuid NOT NULL,
  bucket smallint NOT NULL,
  run_at timestamptz NOT NULL,
  held boolean NOT NULL DEFAULT false,
  lease integer NOT NULL DEFAULT 0,
  tries integer NOT NULL DEFAULT 0,
  PRIMARY KEY (legal_entity_id, refund_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01,
  autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX refund_jobs_due ON strongroom.refund_jobs (bucket, run_at);

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['refunds', 'refund_jobs'] LOOP
    EXECUTE format('ALTER TABLE strongroom.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE strongroom.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY of_entity ON strongroom.%I USING (legal_entity_id = ANY ('
      '(SELECT string_to_array(current_setting(''strongroom.legal_entities'', true), '','')'
      '::uuid[])::uuid[]))', name);
  END LOOP;
END $$;
CREATE POLICY of_bucket ON strongroom.refund_jobs TO strongroom_worker USING (bucket = ANY (
  (SELECT string_to_array(current_setting('strongroom.buckets', true), ',')
  ::smallint[])::smallint[]));

-- Least grants. The API writes down what a caller asks; what comes of it is the worker's to write.
GRANT SELECT, INSERT ON strongroom.refund_jobs TO strongroom_api;
GRANT SELECT ON strongroom.refunds TO strongroom_api;
GRANT INSERT (legal_entity_id, refund_id, payment_id, status, amount_minor, currency, reason,
  metadata, gateway, gateway_account_id, gateway_key, digest_salt, created_at, updated_at)
  ON strongroom.refunds TO strongroom_api;
GRANT SELECT ON strongroom.refunds TO strongroom_worker;
GRANT UPDATE (status, status_reason, review, gateway_object_id, parameters, calls, opened_at,
  updated_at) ON strongroom.refunds TO strongroom_worker;
GRANT SELECT, UPDATE, DELETE ON strongroom.refund_jobs TO strongroom_worker;

-- Last, and for a moment only, the table that every request needs. Checks come NOT VALID here,
-- which binds every write from now on; 0005 validates what is there, under a lock that stops
-- nobody.
ALTER TABLE strongroom.payments
  ADD COLUMN capture text NOT NULL DEFAULT 'automatic',
  ADD COLUMN capture_minor bigint,
  ADD COLUMN capture_before timestamptz,
  ADD COLUMN refunding_minor bigint NOT NULL DEFAULT 0,
  ADD COLUMN refunded_minor bigint NOT NULL DEFAULT 0,
  ADD CONSTRAINT payments_capture_check CHECK (capture IN ('automatic', 'manual')) NOT VALID,
  ADD CONSTRAINT payments_capture_minor_check
    CHECK (capture_minor BETWEEN 1 AND amount_minor) NOT VALID,
  ADD CONSTRAINT payments_refunds_check CHECK (refunding_minor >= 0 AND refunded_minor >= 0
    AND refunding_minor + refunded_minor <= captured_minor) NOT VALID;

GRANT UPDATE (status_reason, closing, closing_reason, next_action, capture_minor, refunding_minor)
  ON strongroom.payments TO strongroom_api;
GRANT UPDATE (capture_minor, capture_before, refunding_minor, refunded_minor)
  ON strongroom.payments TO strongroom_worker;

-- The version before gives whole rows (p.*) through statements that its sessions keep prepared,
-- and such a statement fails when its rows get another shape. So it goes on finding, under the name
-- that it knows, rows of the old shape; this version finds the table in strongroom_next, which
-- stands first in its search path. 0008 brings it home when nobody is left who needs the view.
CREATE SCHEMA strongroom_next;
GRANT USAGE ON SCHEMA strongroom_next TO strongroom_api, strongroom_worker;
ALTER TABLE strongroom.payments SET SCHEMA strongroom_next;
CREATE VIEW strongroom.payments WITH (security_invoker = true) AS
  SELECT legal_entity_id, payment_id, version, status, status_reason, review, amount_minor,
    captured_minor, currency, merchant_reference, description, metadata, return_url, gateway,
    gateway_account_id, instrument_token, attempt_no, closing, closing_reason, next_action,
    not_after, gateway_key_seed, digest_salt, created_at, updated_at
  FROM strongroom_next.payments;
GRANT SELECT, INSERT ON strongroom.payments TO strongroom_api;
GRANT UPDATE (version, status, gateway, gateway_account_id, instrument_token, return_url,
  updated_at) ON strongroom.payments TO strongroom_api;
GRANT SELECT ON strongroom.payments TO strongroom_worker;
GRANT UPDATE (version, status, status_reason, review, captured_minor, attempt_no, closing,
  closing_reason, next_action, updated_at) ON strongroom.payments TO strongroom_worker;
