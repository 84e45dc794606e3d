-- Customers. What is personal of one lies sealed under the customer's own key, so that destroying
-- that key erases it everywhere, backups included. email_index is a keyed digest of the address in
-- one form: it finds a customer, and tells nothing to who has not got the legal entity's key.
CREATE TABLE strongroom.customers (
  legal_entity_id uuid NOT NULL,
  customer_id uuid NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  sealed bytea NOT NULL,
  email_index bytea CHECK (octet_length(email_index) = 16),
  digest_salt bytea NOT NULL CHECK (octet_length(digest_salt) = 16),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, customer_id)
);
CREATE INDEX customers_email ON strongroom.customers (legal_entity_id, email_index, customer_id)
  WHERE email_index IS NOT NULL;

-- Each change of a customer, with its gapless version and a digest of the row that results.
CREATE TABLE strongroom.customer_events (
  legal_entity_id uuid NOT NULL,
  owner_id uuid NOT NULL, -- a customer, or what belongs to one
  version integer NOT NULL CHECK (version > 0),
  kind text NOT NULL,
  actor text NOT NULL,
  at timestamptz NOT NULL,
  row_digest bytea NOT NULL CHECK (octet_length(row_digest) = 32),
  payload bytea NOT NULL,
  PRIMARY KEY (legal_entity_id, owner_id, version)
);

-- What was asked for under which Idempotency-Key, as long as there is the customer. The keys of
-- payments are others: they are claimed by the million, and guard money.
CREATE TABLE strongroom.customer_keys (
  legal_entity_id uuid NOT NULL,
  idempotency_key text NOT NULL,
  fingerprint bytea NOT NULL CHECK (octet_length(fingerprint) = 33),
  owner_id uuid NOT NULL, -- what it made, or changed
  created_at timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, idempotency_key)
);

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['customers', 'customer_events', 'customer_keys'] LOOP
    EXECUTE format('ALTER TABLE strongroom.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE strongroom.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY of_entity ON strongroom.%I USING (legal_entity_id = ANY ('
      '(SELECT string_to_array(current_setting(''strongroom.legal_entities'', true), '','')'
      '::uuid[])::uuid[]))', name);
  END LOOP;
END $$;

-- Who settles payments has no need of them.
GRANT SELECT, INSERT ON strongroom.customers TO strongroom_api;
GRANT UPDATE (version, sealed, email_index, updated_at) ON strongroom.customers TO strongroom_api;
GRANT SELECT, INSERT ON strongroom.customer_events TO strongroom_api;
GRANT SELECT, INSERT ON strongroom.customer_keys TO strongroom_api;
