-- What a browser needs to have card fields of a gateway that gives a token for it, as Braintree
-- does. The page asks by a row; a worker, which has the gateway's secret, makes the token. So the
-- page's process needs no secret of any gateway. One token serves a link for most of a day.
CREATE TABLE strongroom.client_tokens (
  legal_entity_id uuid NOT NULL,
  payment_id uuid NOT NULL, -- the link's
  gateway_account_id uuid NOT NULL,
  currency text NOT NULL,
  bucket smallint NOT NULL,
  asked smallint NOT NULL DEFAULT 1 CHECK (asked BETWEEN 1 AND 100), -- how often, since the first
  asked_at timestamptz NOT NULL, -- the last time
  run_at timestamptz, -- when a worker is to ask the gateway, or the end of its lease
  lease integer NOT NULL DEFAULT 0,
  tries integer NOT NULL DEFAULT 0,
  sealed bytea, -- the last one that was made
  made_at timestamptz,
  PRIMARY KEY (legal_entity_id, payment_id, gateway_account_id),
  CHECK ((sealed IS NULL) = (made_at IS NULL))
);
CREATE INDEX client_tokens_due ON strongroom.client_tokens (bucket, run_at)
  WHERE run_at IS NOT NULL;

ALTER TABLE strongroom.client_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE strongroom.client_tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY of_entity ON strongroom.client_tokens USING (legal_entity_id = ANY (
  (SELECT string_to_array(current_setting('strongroom.legal_entities', true), ',')
  ::uuid[])::uuid[]));
CREATE POLICY of_bucket ON strongroom.client_tokens TO strongroom_worker USING (bucket = ANY (
  (SELECT string_to_array(current_setting('strongroom.buckets', true), ',')
  ::smallint[])::smallint[]));

-- Who shows the page asks; what is made is the worker's to write.
GRANT SELECT, DELETE ON strongroom.client_tokens TO strongroom_api;
GRANT INSERT (legal_entity_id, payment_id, gateway_account_id, currency, bucket, asked_at, run_at)
  ON strongroom.client_tokens TO strongroom_api;
GRANT UPDATE (asked, asked_at, run_at, tries) ON strongroom.client_tokens TO strongroom_api;
GRANT SELECT ON strongroom.client_tokens TO strongroom_worker;
GRANT UPDATE (run_at, lease, tries, sealed, made_at)
  ON strongroom.client_tokens TO strongroom_worker;
