-- Idempotency keys are deleted some time after their payment has ended. They are found by a walk
-- through the table in the order of its primary key: an index by time or by payment would cost each
-- accepted payment one more write. A row is how far the walk of an entity has come, and when it
-- goes on; while a worker is at it, run_at is the end of its lease.
CREATE TABLE strongroom.walks (
  legal_entity_id uuid NOT NULL,
  walk text NOT NULL CHECK (walk IN ('idempotency_keys')),
  bucket smallint NOT NULL,
  reached text NOT NULL,
  run_at timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, walk)
) WITH (fillfactor = 50);
CREATE INDEX walks_due ON strongroom.walks (bucket, run_at);

ALTER TABLE strongroom.walks ENABLE ROW LEVEL SECURITY;
ALTER TABLE strongroom.walks FORCE ROW LEVEL SECURITY;
CREATE POLICY of_entity ON strongroom.walks USING (legal_entity_id = ANY (
  (SELECT string_to_array(current_setting('strongroom.legal_entities', true), ',')
  ::uuid[])::uuid[]));
CREATE POLICY of_bucket ON strongroom.walks TO strongroom_worker USING (bucket = ANY (
  (SELECT string_to_array(current_setting('strongroom.buckets', true), ',')
  ::smallint[])::smallint[]));

GRANT SELECT, INSERT, UPDATE ON strongroom.walks TO strongroom_worker;
-- What a request was stays the API's to know.
GRANT SELECT (legal_entity_id, idempotency_key, payment_id, refund_id, created_at)
  ON strongroom.idempotency_keys TO strongroom_worker;
GRANT DELETE ON strongroom.idempotency_keys TO strongroom_worker;
