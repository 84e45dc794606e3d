-- What no machine may go on with: raised in the transaction that finds its cause, with an event
-- under its id, and open until a person clears it.
CREATE TABLE strongroom.alarms (
  legal_entity_id uuid NOT NULL,
  alarm_id uuid NOT NULL,
  bucket smallint NOT NULL,
  kind text NOT NULL,
  gateway_account_id uuid NOT NULL,
  subject text NOT NULL CHECK (length(subject) <= 255), -- the gateway's id of what it is about
  reason text NOT NULL,
  raised_at timestamptz NOT NULL,
  cleared_at timestamptz,
  cleared_by text,
  cleared_because text CHECK (length(cleared_because) <= 500),
  PRIMARY KEY (legal_entity_id, alarm_id),
  CHECK ((cleared_at IS NULL) = (cleared_by IS NULL)),
  CHECK ((cleared_at IS NULL) = (cleared_because IS NULL))
);
-- One at a time for each subject; a charge that a person has accounted for is no alarm ever again.
CREATE UNIQUE INDEX alarms_subject
  ON strongroom.alarms (legal_entity_id, gateway_account_id, kind, subject)
  WHERE cleared_at IS NULL OR kind IN ('ghost_charge', 'unmarked_charge');
CREATE INDEX alarms_open ON strongroom.alarms (bucket, raised_at) WHERE cleared_at IS NULL;

ALTER TABLE strongroom.alarms ENABLE ROW LEVEL SECURITY;
ALTER TABLE strongroom.alarms FORCE ROW LEVEL SECURITY;
CREATE POLICY of_entity ON strongroom.alarms USING (legal_entity_id = ANY (
  (SELECT string_to_array(current_setting('strongroom.legal_entities', true), ',')
  ::uuid[])::uuid[]));
CREATE POLICY of_bucket ON strongroom.alarms TO strongroom_worker USING (bucket = ANY (
  (SELECT string_to_array(current_setting('strongroom.buckets', true), ',')
  ::smallint[])::smallint[]));

-- Processes raise alarms; nobody but an operator clears one.
GRANT SELECT, INSERT ON strongroom.alarms TO strongroom_worker;
GRANT SELECT (legal_entity_id, alarm_id) ON strongroom.alarms TO strongroom_api;
GRANT INSERT (legal_entity_id, alarm_id, bucket, kind, gateway_account_id, subject, reason,
  raised_at) ON strongroom.alarms TO strongroom_api;
