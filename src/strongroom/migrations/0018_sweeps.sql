-- What a worker goes through for each gateway account, a page at a time: what the gateway lists
-- (events that it could not deliver, or all since some moment, and charges), and our own webhooks
-- that have been kept long enough. A row is how far one of these has come; while a worker is at a
-- page, run_at is the end of its lease, and without run_at nothing is to be done.
CREATE TABLE strongroom.sweeps (
  legal_entity_id uuid NOT NULL,
  gateway_account_id uuid NOT NULL,
  sweep text NOT NULL,
  bucket smallint NOT NULL,
  since timestamptz NOT NULL, -- what was before it has been seen
  until timestamptz, -- the end of the window under way
  cursor text, -- the last that was seen of it, the newest first
  reached_at timestamptz, -- when that had happened
  seen bigint NOT NULL DEFAULT 0,
  found bigint NOT NULL DEFAULT 0,
  tries integer NOT NULL DEFAULT 0,
  skips_unmarked boolean NOT NULL DEFAULT false, -- charges without our mark are another system's
  run_at timestamptz,
  PRIMARY KEY (legal_entity_id, gateway_account_id, sweep)
) WITH (fillfactor = 50);
CREATE INDEX sweeps_due ON strongroom.sweeps (bucket, run_at);

ALTER TABLE strongroom.sweeps ENABLE ROW LEVEL SECURITY;
ALTER TABLE strongroom.sweeps FORCE ROW LEVEL SECURITY;
CREATE POLICY of_entity ON strongroom.sweeps USING (legal_entity_id = ANY (
  (SELECT string_to_array(current_setting('strongroom.legal_entities', true), ',')
  ::uuid[])::uuid[]));
CREATE POLICY of_bucket ON strongroom.sweeps TO strongroom_worker USING (bucket = ANY (
  (SELECT string_to_array(current_setting('strongroom.buckets', true), ',')
  ::smallint[])::smallint[]));

GRANT SELECT, INSERT ON strongroom.sweeps TO strongroom_worker;
GRANT UPDATE (since, until, cursor, reached_at, seen, found, tries, run_at)
  ON strongroom.sweeps TO strongroom_worker;
-- What the gateway lists is stored as what it sends.
GRANT INSERT (legal_entity_id, gateway_account_id, gateway_event_id, bucket, kind, object_type,
  gateway_object_id, known_by, lane, owner_id, attempt_no, amount_minor, currency, body_digest,
  state, reason, happened_at, received_at, run_at) ON strongroom.webhook_events
  TO strongroom_worker;
GRANT DELETE ON strongroom.webhook_events TO strongroom_worker;
