-- What gateways told us of: each webhook once, as a hint, and no body. While its state is received
-- it is its own job: run_at says when it is looked at.
CREATE TABLE strongroom.webhook_events (
  legal_entity_id uuid NOT NULL,
  gateway_account_id uuid NOT NULL,
  gateway_event_id text NOT NULL,
  bucket smallint NOT NULL,
  kind text NOT NULL, -- the gateway's name for what happened
  object_type text NOT NULL,
  gateway_object_id text NOT NULL,
  known_by text, -- the id of the gateway's object that we made: an intent, a refund
  lane text CHECK (lane IN ('payments', 'refunds')),
  owner_id uuid, -- the payment or refund that the object says it belongs to; to be checked
  attempt_no integer,
  amount_minor bigint,
  currency text,
  body_digest bytea NOT NULL CHECK (octet_length(body_digest) = 32),
  state text NOT NULL CHECK (state IN ('received', 'applied', 'parked', 'ignored')),
  reason text,
  happened_at timestamptz NOT NULL,
  received_at timestamptz NOT NULL,
  run_at timestamptz NOT NULL,
  tries integer NOT NULL DEFAULT 0,
  ended_at timestamptz,
  PRIMARY KEY (legal_entity_id, gateway_account_id, gateway_event_id)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01,
  autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX webhook_events_due ON strongroom.webhook_events (bucket, run_at)
  WHERE state = 'received';
CREATE INDEX webhook_events_parked ON strongroom.webhook_events (bucket, received_at)
  WHERE state = 'parked';

ALTER TABLE strongroom.webhook_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE strongroom.webhook_events FORCE ROW LEVEL SECURITY;
CREATE POLICY of_entity ON strongroom.webhook_events USING (legal_entity_id = ANY (
  (SELECT string_to_array(current_setting('strongroom.legal_entities', true), ',')
  ::uuid[])::uuid[]));
CREATE POLICY of_bucket ON strongroom.webhook_events TO strongroom_worker USING (bucket = ANY (
  (SELECT string_to_array(current_setting('strongroom.buckets', true), ',')
  ::smallint[])::smallint[]));

-- The API writes down what came, and sees whether it came before; a worker says what became of it.
GRANT SELECT (legal_entity_id, gateway_account_id, gateway_event_id, body_digest)
  ON strongroom.webhook_events TO strongroom_api;
GRANT INSERT (legal_entity_id, gateway_account_id, gateway_event_id, bucket, kind, object_type,
  gateway_object_id, known_by, lane, owner_id, attempt_no, amount_minor, currency, body_digest,
  state, reason, happened_at, received_at, run_at) ON strongroom.webhook_events TO strongroom_api;
GRANT SELECT ON strongroom.webhook_events TO strongroom_worker;
GRANT UPDATE (state, reason, run_at, tries, ended_at) ON strongroom.webhook_events
  TO strongroom_worker;

-- The API checks signatures, so it reads the secrets of webhooks; those, and no other kind. This
-- policy takes away from what of_entity shows it: whoever has its login still has no gateway's key.
CREATE POLICY of_webhooks ON strongroom.secrets AS RESTRICTIVE FOR SELECT TO strongroom_api
  USING (kind = 'stripe_webhook_secret');
GRANT SELECT (legal_entity_id, owner_id, kind, version, sealed, retired_at)
  ON strongroom.secrets TO strongroom_api;
