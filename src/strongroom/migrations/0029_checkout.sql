-- The public half of an account's credentials, which a browser is given. A table of its own: a new
-- column of gateway_accounts would break the plans that older versions keep.
CREATE TABLE strongroom.publishable_keys (
  legal_entity_id uuid NOT NULL,
  gateway_account_id uuid NOT NULL,
  publishable_key text NOT NULL
    CHECK (publishable_key ~ '^pk_(test|live)_[A-Za-z0-9]{8,200}$'),
  PRIMARY KEY (legal_entity_id, gateway_account_id)
);
ALTER TABLE strongroom.publishable_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE strongroom.publishable_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY of_entity ON strongroom.publishable_keys USING (legal_entity_id = ANY (
  (SELECT string_to_array(current_setting('strongroom.legal_entities', true), ',')
  ::uuid[])::uuid[]));
GRANT SELECT ON strongroom.publishable_keys TO strongroom_api, strongroom_worker;

-- One link for a payment, by which its customer pays. Only a digest of its secret is kept. A try
-- after a decline is another payment, which the idempotency key of the try leads to.
CREATE TABLE strongroom.checkout_links (
  legal_entity_id uuid NOT NULL,
  payment_id uuid NOT NULL, -- the first; those of further tries follow from their keys
  secret_digest bytea NOT NULL CHECK (octet_length(secret_digest) = 32),
  return_url text, -- where the customer goes afterwards
  tries smallint NOT NULL DEFAULT 0 CHECK (tries BETWEEN 0 AND 100),
  counted_at timestamptz, -- when the last try was counted, and for whom, until it takes money
  counted_for bytea CHECK (octet_length(counted_for) = 32),
  expires_at timestamptz NOT NULL,
  revoked_at timestamptz,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, payment_id)
);

-- How many tries of an hour came from somewhere without taking money; a keyed digest says from
-- where.
CREATE TABLE strongroom.checkout_limits (
  legal_entity_id uuid NOT NULL,
  hour timestamptz NOT NULL,
  subject bytea NOT NULL CHECK (octet_length(subject) = 32),
  tries integer NOT NULL CHECK (tries >= 0),
  PRIMARY KEY (legal_entity_id, hour, subject)
);

-- What browsers reported that the page's policy stopped, by day: names of rules and origins.
CREATE TABLE strongroom.checkout_reports (
  legal_entity_id uuid NOT NULL,
  day date NOT NULL,
  directive text NOT NULL,
  blocked text NOT NULL,
  reports integer NOT NULL CHECK (reports > 0),
  first_at timestamptz NOT NULL,
  last_at timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, day, directive, blocked)
);

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['checkout_links', 'checkout_limits', 'checkout_reports'] LOOP
    EXECUTE format('ALTER TABLE strongroom.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE strongroom.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY of_entity ON strongroom.%I USING (legal_entity_id = ANY ('
      '(SELECT string_to_array(current_setting(''strongroom.legal_entities'', true), '','')'
      '::uuid[])::uuid[]))', name);
    EXECUTE format('GRANT SELECT, INSERT, DELETE ON strongroom.%I TO strongroom_api', name);
  END LOOP;
END $$;
GRANT UPDATE (secret_digest, tries, counted_at, counted_for, expires_at, revoked_at, created_at)
  ON strongroom.checkout_links TO strongroom_api;
GRANT UPDATE (tries) ON strongroom.checkout_limits TO strongroom_api;
GRANT UPDATE (reports, last_at) ON strongroom.checkout_reports TO strongroom_api;
