-- Webhooks that tell a merchant's servers what happened. An endpoint reads the log of its legal
-- entity by index: what is before next_index was told, waits in webhook_deliveries, or was not
-- asked for. One worker at a time works for an endpoint, until held_until.
CREATE TABLE strongroom.webhook_endpoints (
  legal_entity_id uuid NOT NULL,
  endpoint_id uuid NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  bucket smallint NOT NULL,
  host text NOT NULL, -- of the address, which is sealed among the secrets: it may hold a token
  kinds text[] NOT NULL, -- of events, as payment.succeeded or refund.*; none means all
  state text NOT NULL CHECK (state IN ('enabled', 'disabled')),
  state_reason text CHECK (length(state_reason) <= 500),
  state_since timestamptz NOT NULL,
  created_at timestamptz NOT NULL,
  next_index bigint NOT NULL CHECK (next_index >= 0),
  due_at timestamptz, -- when something is to be delivered; null when nothing waits
  held_until timestamptz NOT NULL, -- the end of a lease, or of a rest
  lease bigint NOT NULL DEFAULT 0,
  failures integer NOT NULL DEFAULT 0, -- rounds one after the other in which nothing went through
  failing_since timestamptz,
  PRIMARY KEY (legal_entity_id, endpoint_id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 200,
  autovacuum_vacuum_cost_delay = 0);
CREATE INDEX webhook_endpoints_enabled ON strongroom.webhook_endpoints (bucket, held_until)
  WHERE state = 'enabled';

-- What is to be told to an endpoint, and what became of it; kept for a while after its end.
CREATE TABLE strongroom.webhook_deliveries (
  legal_entity_id uuid NOT NULL,
  endpoint_id uuid NOT NULL,
  index bigint NOT NULL, -- of the entry in the log
  subject_id uuid NOT NULL,
  version integer NOT NULL,
  kind text NOT NULL,
  state text NOT NULL CHECK (state IN ('waiting', 'delivered', 'given_up')),
  run_at timestamptz, -- of the first of its subject that waits; those behind it have none
  tries integer NOT NULL DEFAULT 0, -- while anything went through
  outcome text, -- of the last try
  status integer, -- what the endpoint answered to it
  first_tried_at timestamptz,
  tried_at timestamptz,
  ended_at timestamptz,
  PRIMARY KEY (legal_entity_id, endpoint_id, index),
  CHECK ((state = 'waiting') = (ended_at IS NULL)),
  CHECK (state = 'waiting' OR run_at IS NULL)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01,
  autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX webhook_deliveries_due
  ON strongroom.webhook_deliveries (legal_entity_id, endpoint_id, run_at)
  WHERE run_at IS NOT NULL;
CREATE INDEX webhook_deliveries_given_up
  ON strongroom.webhook_deliveries (legal_entity_id, endpoint_id, index)
  WHERE state = 'given_up';
CREATE INDEX webhook_deliveries_waiting
  ON strongroom.webhook_deliveries (legal_entity_id, endpoint_id, subject_id, index)
  WHERE state = 'waiting';
CREATE INDEX webhook_deliveries_ended
  ON strongroom.webhook_deliveries (legal_entity_id, endpoint_id, ended_at)
  WHERE state <> 'waiting';

ALTER TABLE strongroom.webhook_endpoints ENABLE ROW LEVEL SECURITY;
ALTER TABLE strongroom.webhook_endpoints FORCE ROW LEVEL SECURITY;
CREATE POLICY of_entity ON strongroom.webhook_endpoints USING (legal_entity_id = ANY (
  (SELECT string_to_array(current_setting('strongroom.legal_entities', true), ',')
  ::uuid[])::uuid[]));
CREATE POLICY of_bucket ON strongroom.webhook_endpoints TO strongroom_worker
  USING (bucket = ANY (
  (SELECT string_to_array(current_setting('strongroom.buckets', true), ',')
  ::smallint[])::smallint[]));
ALTER TABLE strongroom.webhook_deliveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE strongroom.webhook_deliveries FORCE ROW LEVEL SECURITY;
CREATE POLICY of_entity ON strongroom.webhook_deliveries USING (legal_entity_id = ANY (
  (SELECT string_to_array(current_setting('strongroom.legal_entities', true), ',')
  ::uuid[])::uuid[]));

-- A worker tells, and says what came of it; whom is told what, the owner says.
GRANT SELECT ON strongroom.webhook_endpoints TO strongroom_worker;
GRANT UPDATE (version, state, state_reason, state_since, next_index, due_at, held_until,
  lease, failures, failing_since) ON strongroom.webhook_endpoints TO strongroom_worker;
GRANT SELECT, INSERT, DELETE ON strongroom.webhook_deliveries TO strongroom_worker;
GRANT UPDATE (state, run_at, tries, outcome, status, first_tried_at, tried_at,
  ended_at) ON strongroom.webhook_deliveries TO strongroom_worker;
GRANT SELECT ON strongroom.log_entries, strongroom.log_heads TO strongroom_worker;
-- How long a log is, it has to know before it acts for its entity.
CREATE POLICY of_worker ON strongroom.log_heads FOR SELECT TO strongroom_worker USING (true);
