-- What is under review, a payment or a refund, so that it can be counted without an index on every
-- payment. Written with the change that freezes it; versions before this one do not.
CREATE TABLE strongroom.reviews (
  legal_entity_id uuid NOT NULL,
  owner_id uuid NOT NULL,
  lane text NOT NULL CHECK (lane IN ('payments', 'refunds')),
  bucket smallint NOT NULL,
  review text NOT NULL,
  since timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, owner_id)
);
CREATE INDEX reviews_since ON strongroom.reviews (bucket, since);

ALTER TABLE strongroom.reviews ENABLE ROW LEVEL SECURITY;
ALTER TABLE strongroom.reviews FORCE ROW LEVEL SECURITY;
CREATE POLICY of_entity ON strongroom.reviews USING (legal_entity_id = ANY (
  (SELECT string_to_array(current_setting('strongroom.legal_entities', true), ',')
  ::uuid[])::uuid[]));
CREATE POLICY of_bucket ON strongroom.reviews TO strongroom_worker USING (bucket = ANY (
  (SELECT string_to_array(current_setting('strongroom.buckets', true), ',')
  ::smallint[])::smallint[]));

GRANT SELECT, INSERT, DELETE ON strongroom.reviews TO strongroom_worker;
