-- Disputes, and the queue of what is to be looked at once money was taken.

-- A dispute of one payment, as the gateway last showed it. What of it counts against the payment
-- now stands in disputed_minor, in the payment's currency.
CREATE TABLE strongroom.disputes (
  legal_entity_id uuid NOT NULL,
  dispute_id uuid NOT NULL,
  payment_id uuid NOT NULL,
  status text NOT NULL CHECK (status IN ('needs_response', 'under_review', 'won', 'lost',
    'warning_needs_response', 'warning_under_review', 'warning_closed', 'prevented')),
  amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
  currency text NOT NULL CHECK (octet_length(currency) = 3),
  disputed_minor bigint NOT NULL CHECK (disputed_minor >= 0),
  reason text NOT NULL,
  evidence_due_by timestamptz,
  has_evidence boolean NOT NULL,
  submissions integer NOT NULL CHECK (submissions >= 0),
  gateway text NOT NULL,
  gateway_account_id uuid NOT NULL,
  gateway_object_id text NOT NULL,
  opened_at timestamptz NOT NULL,
  digest_salt bytea NOT NULL CHECK (octet_length(digest_salt) = 16),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, dispute_id)
) WITH (fillfactor = 50);
-- One dispute of a gateway is one row, whoever saw it first.
CREATE UNIQUE INDEX disputes_at_gateway
  ON strongroom.disputes (legal_entity_id, gateway_account_id, gateway_object_id);
CREATE INDEX disputes_of_payment ON strongroom.disputes (legal_entity_id, payment_id, dispute_id);
CREATE INDEX disputes_due ON strongroom.disputes (legal_entity_id, evidence_due_by)
  WHERE status IN ('needs_response', 'warning_needs_response');

-- What is to be asked of a gateway, one row an object, or an account's list of them (then without
-- an object's id). While a worker is at it, run_at is the end of its lease. Whoever wants it looked
-- at again raises wanted: a look that began before says nothing about what happened since.
CREATE TABLE strongroom.settlement_looks (
  legal_entity_id uuid NOT NULL,
  gateway_account_id uuid NOT NULL,
  noun text NOT NULL,
  gateway_object_id text NOT NULL,
  bucket smallint NOT NULL,
  run_at timestamptz NOT NULL,
  lease integer NOT NULL DEFAULT 0,
  tries integer NOT NULL DEFAULT 0,
  wanted integer NOT NULL DEFAULT 0,
  gateway_event_id text, -- the last webhook that told of it
  seen_until timestamptz, -- of a list: what was opened before this has been seen
  reason text, -- why it rests: it is nothing of ours
  PRIMARY KEY (legal_entity_id, gateway_account_id, noun, gateway_object_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01,
  autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX settlement_looks_due ON strongroom.settlement_looks (bucket, run_at);

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['disputes', 'settlement_looks'] LOOP
    EXECUTE format('ALTER TABLE strongroom.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE strongroom.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY of_entity ON strongroom.%I USING (legal_entity_id = ANY ('
      '(SELECT string_to_array(current_setting(''strongroom.legal_entities'', true), '','')'
      '::uuid[])::uuid[]))', name);
  END LOOP;
END $$;
CREATE POLICY of_bucket ON strongroom.settlement_looks TO strongroom_worker USING (bucket = ANY (
  (SELECT string_to_array(current_setting('strongroom.buckets', true), ',')
  ::smallint[])::smallint[]));

-- Least grants: what a gateway shows is the worker's to write.
GRANT SELECT ON strongroom.disputes TO strongroom_api;
GRANT SELECT, INSERT ON strongroom.disputes TO strongroom_worker;
GRANT UPDATE (status, amount_minor, currency, disputed_minor, reason, evidence_due_by,
  has_evidence, submissions, updated_at) ON strongroom.disputes TO strongroom_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON strongroom.settlement_looks TO strongroom_worker;

-- Last, and for a moment only, the table that every request needs: what banks have taken of a
-- payment (disputed), and what of it is kept from refunds (withheld), which is never more than is
-- left. A dispute may come when everything was given back: then all of it is disputed, and nothing
-- is withheld. Until 0008 is applied the table stands in strongroom_next.
DO $$
BEGIN
  EXECUTE format('ALTER TABLE %s ADD COLUMN disputed_minor bigint NOT NULL DEFAULT 0, '
    'ADD COLUMN withheld_minor bigint NOT NULL DEFAULT 0, '
    'ADD CONSTRAINT payments_disputes_check CHECK (withheld_minor BETWEEN 0 AND disputed_minor '
    'AND refunding_minor + refunded_minor + withheld_minor <= captured_minor) NOT VALID',
    coalesce(to_regclass('strongroom_next.payments'), 'strongroom.payments'::regclass));
  EXECUTE format('GRANT UPDATE (disputed_minor, withheld_minor) ON %s TO strongroom_worker',
    coalesce(to_regclass('strongroom_next.payments'), 'strongroom.payments'::regclass));
END $$;
