-- Webhooks that name an object and show nothing of it: their object is fetched by a worker, with
-- the account's credentials, before they can be followed up; until then they are among the parked.
-- A row is a webhook of which that is still to be done; claimed, run_at is the end of the lease.
CREATE TABLE strongroom.webhook_fetches (
  legal_entity_id uuid NOT NULL,
  gateway_account_id uuid NOT NULL,
  gateway_event_id text NOT NULL,
  bucket smallint NOT NULL,
  object_type text NOT NULL,
  gateway_object_id text NOT NULL,
  run_at timestamptz NOT NULL,
  tries integer NOT NULL DEFAULT 0,
  PRIMARY KEY (legal_entity_id, gateway_account_id, gateway_event_id)
) WITH (fillfactor = 70);
CREATE INDEX webhook_fetches_due ON strongroom.webhook_fetches (bucket, run_at);

ALTER TABLE strongroom.webhook_fetches ENABLE ROW LEVEL SECURITY;
ALTER TABLE strongroom.webhook_fetches FORCE ROW LEVEL SECURITY;
CREATE POLICY of_entity ON strongroom.webhook_fetches USING (legal_entity_id = ANY (
  (SELECT string_to_array(current_setting('strongroom.legal_entities', true), ',')
  ::uuid[])::uuid[]));
CREATE POLICY of_bucket ON strongroom.webhook_fetches TO strongroom_worker USING (bucket = ANY (
  (SELECT string_to_array(current_setting('strongroom.buckets', true), ',')
  ::smallint[])::smallint[]));

GRANT INSERT ON strongroom.webhook_fetches TO strongroom_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON strongroom.webhook_fetches TO strongroom_worker;
-- What the fetched object says it belongs to, as a webhook that shows its object has it at once.
GRANT UPDATE (known_by, lane, owner_id, attempt_no, amount_minor, currency)
  ON strongroom.webhook_events TO strongroom_worker;
