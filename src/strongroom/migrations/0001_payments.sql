-- The first schema: global records, then everything of a legal entity under row-level security.
-- Roles strongroom_api and strongroom_worker own nothing; `strongroom init` gives each process a
-- login that inherits from one of them.

CREATE SCHEMA directory;
CREATE SCHEMA strongroom;

-- Global records: few rows, the same in every cell, readable by all processes.

CREATE TABLE directory.deployment (
  deployment smallint PRIMARY KEY CHECK (deployment = 1),
  mode text NOT NULL CHECK (mode IN ('dev', 'live')),
  log_origin text NOT NULL,
  created_at timestamptz NOT NULL
);

CREATE TABLE directory.legal_entities (
  legal_entity_id uuid PRIMARY KEY,
  tag bigint NOT NULL,
  bucket smallint NOT NULL CHECK (bucket BETWEEN 0 AND 63),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  created_at timestamptz NOT NULL
);
-- Two entities with one tag could not be told apart in an id.
CREATE UNIQUE INDEX legal_entities_tag ON directory.legal_entities (tag);

-- Credentials.

CREATE TABLE strongroom.api_keys (
  legal_entity_id uuid NOT NULL,
  api_key_id uuid NOT NULL,
  secret_digest bytea NOT NULL CHECK (octet_length(secret_digest) = 32),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  scopes text[] NOT NULL,
  created_at timestamptz NOT NULL,
  revoked_at timestamptz,
  PRIMARY KEY (legal_entity_id, api_key_id)
);

CREATE TABLE strongroom.gateway_accounts (
  legal_entity_id uuid NOT NULL,
  gateway_account_id uuid NOT NULL,
  gateway text NOT NULL CHECK (gateway IN ('stripe')),
  environment text NOT NULL CHECK (environment IN ('stand_in', 'sandbox', 'live')),
  secret_file text NOT NULL,
  base_url text CHECK (base_url IS NULL OR environment = 'stand_in'),
  created_at timestamptz NOT NULL,
  retired_at timestamptz,
  PRIMARY KEY (legal_entity_id, gateway_account_id)
);

-- Payments and what guards them against a second charge.

CREATE TABLE strongroom.payments (
  legal_entity_id uuid NOT NULL,
  payment_id uuid NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  status text NOT NULL CHECK (status IN ('requires_payment_method', 'processing',
    'requires_action', 'authorized', 'succeeded', 'failed', 'canceled', 'outcome_unknown')),
  status_reason text,
  review text,
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  captured_minor bigint NOT NULL CHECK (captured_minor BETWEEN 0 AND amount_minor),
  currency text NOT NULL CHECK (octet_length(currency) = 3),
  merchant_reference text NOT NULL,
  description text,
  metadata jsonb NOT NULL,
  return_url text,
  gateway text,
  gateway_account_id uuid,
  instrument_token text,
  attempt_no integer NOT NULL CHECK (attempt_no > 0),
  closing text CHECK (closing IN ('failed', 'canceled', 'new_attempt')),
  closing_reason text,
  next_action jsonb,
  not_after timestamptz NOT NULL,
  gateway_key_seed bytea NOT NULL CHECK (octet_length(gateway_key_seed) = 16),
  digest_salt bytea NOT NULL CHECK (octet_length(digest_salt) = 16),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, payment_id)
) WITH (fillfactor = 50);
-- No index holds the status: an update of it stays heap-only.
CREATE INDEX payments_reference
  ON strongroom.payments (legal_entity_id, merchant_reference, payment_id);

CREATE TABLE strongroom.idempotency_keys (
  legal_entity_id uuid NOT NULL,
  idempotency_key text NOT NULL,
  operation text NOT NULL,
  fingerprint bytea NOT NULL CHECK (octet_length(fingerprint) = 33),
  payment_id uuid NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, idempotency_key)
);

-- Held while a charge is possible or was made; deleted when no charge is possible any more.
CREATE TABLE strongroom.merchant_references (
  legal_entity_id uuid NOT NULL,
  merchant_reference text NOT NULL,
  payment_id uuid NOT NULL,
  PRIMARY KEY (legal_entity_id, merchant_reference)
);

CREATE TABLE strongroom.attempts (
  legal_entity_id uuid NOT NULL,
  payment_id uuid NOT NULL,
  attempt_no integer NOT NULL CHECK (attempt_no > 0),
  kind text NOT NULL CHECK (kind IN ('authorize', 'sale', 'capture', 'void', 'refund')),
  state text NOT NULL CHECK (state IN ('open', 'action_required', 'unknown', 'approved',
    'declined', 'canceled', 'not_sent')),
  gateway text NOT NULL,
  gateway_account_id uuid NOT NULL,
  gateway_key text NOT NULL,
  staged boolean NOT NULL,
  gateway_object_id text,
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  currency text NOT NULL,
  parameters jsonb NOT NULL,
  decline text,
  raw_code text,
  calls jsonb NOT NULL DEFAULT '[]',
  opened_at timestamptz NOT NULL,
  settled_at timestamptz,
  PRIMARY KEY (legal_entity_id, payment_id, attempt_no)
) WITH (fillfactor = 50);

-- One row per payment that something is still to be done for. While a worker has claimed it, it is
-- held, run_at is the end of the lease, and lease says whose it is.
CREATE TABLE strongroom.jobs (
  legal_entity_id uuid NOT NULL,
  payment_id uuid NOT NULL,
  bucket smallint NOT NULL,
  run_at timestamptz NOT NULL,
  held boolean NOT NULL DEFAULT false,
  lease integer NOT NULL DEFAULT 0,
  tries integer NOT NULL DEFAULT 0,
  PRIMARY KEY (legal_entity_id, payment_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01,
  autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX jobs_due ON strongroom.jobs (bucket, run_at);

-- Each change of state, with the payment's gapless version and a digest of the row that results.
CREATE TABLE strongroom.events (
  legal_entity_id uuid NOT NULL,
  payment_id uuid NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  kind text NOT NULL,
  actor text NOT NULL,
  at timestamptz NOT NULL,
  row_digest bytea NOT NULL CHECK (octet_length(row_digest) = 32),
  payload bytea NOT NULL,
  PRIMARY KEY (legal_entity_id, payment_id, version)
) PARTITION BY RANGE (payment_id);

-- A partition a month, by the milliseconds in the first 48 bits of the payment's UUIDv7.
DO $$
DECLARE
  month date;
  low uuid;
  high uuid;
BEGIN
  FOR month IN SELECT generate_series('2026-11-01'::date, '2028-12-01'::date, '1 month')::date LOOP
    low := rpad(lpad(to_hex((extract(epoch FROM month) * 1000)::bigint), 12, '0'), 32, '0')::uuid;
    high := rpad(lpad(to_hex((extract(epoch FROM month + interval '1 month') * 1000)::bigint),
      12, '0'), 32, '0')::uuid;
    EXECUTE format('CREATE TABLE strongroom.events_%s PARTITION OF strongroom.events '
      'FOR VALUES FROM (%L) TO (%L)', to_char(month, 'YYYY_MM'), low, high);
  END LOOP;
END $$;
CREATE TABLE strongroom.events_beyond PARTITION OF strongroom.events DEFAULT;

-- Row-level security: forced on every table of an entity, also on owners; the setting is read
-- once per statement, through a sub-select. Without the setting nothing is visible.

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['api_keys', 'gateway_accounts', 'payments', 'idempotency_keys',
    'merchant_references', 'attempts', 'jobs', 'events'] LOOP
    EXECUTE format('ALTER TABLE strongroom.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE strongroom.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY of_entity ON strongroom.%I USING (legal_entity_id = ANY ('
      '(SELECT string_to_array(current_setting(''strongroom.legal_entities'', true), '','')'
      '::uuid[])::uuid[]))', name);
  END LOOP;
END $$;
-- A worker sees the jobs of the buckets that it serves, and from them the entities to act for.
CREATE POLICY of_bucket ON strongroom.jobs TO strongroom_worker USING (bucket = ANY (
  (SELECT string_to_array(current_setting('strongroom.buckets', true), ',')
  ::smallint[])::smallint[]));

-- Least grants.

GRANT USAGE ON SCHEMA directory, strongroom TO strongroom_api, strongroom_worker;
GRANT SELECT ON ALL TABLES IN SCHEMA directory TO strongroom_api, strongroom_worker;
GRANT SELECT ON strongroom.api_keys TO strongroom_api;
GRANT SELECT ON strongroom.gateway_accounts TO strongroom_api, strongroom_worker;
GRANT SELECT, INSERT ON strongroom.idempotency_keys TO strongroom_api;
GRANT SELECT, INSERT ON strongroom.merchant_references TO strongroom_api;
GRANT SELECT, INSERT, DELETE ON strongroom.merchant_references TO strongroom_worker;
GRANT SELECT, INSERT ON strongroom.payments TO strongroom_api;
GRANT UPDATE (version, status, gateway, gateway_account_id, instrument_token, return_url,
  updated_at) ON strongroom.payments TO strongroom_api;
GRANT SELECT ON strongroom.payments TO strongroom_worker;
GRANT UPDATE (version, status, status_reason, review, captured_minor, attempt_no, closing,
  closing_reason, next_action, updated_at) ON strongroom.payments TO strongroom_worker;
GRANT SELECT ON strongroom.attempts TO strongroom_api;
GRANT SELECT, INSERT ON strongroom.attempts TO strongroom_worker;
GRANT UPDATE (state, gateway_object_id, decline, raw_code, calls, settled_at)
  ON strongroom.attempts TO strongroom_worker;
GRANT SELECT, INSERT, UPDATE ON strongroom.jobs TO strongroom_api;
GRANT SELECT, UPDATE, DELETE ON strongroom.jobs TO strongroom_worker;
GRANT SELECT, INSERT ON strongroom.events TO strongroom_api, strongroom_worker;
