-- The log of each legal entity: every committed event in one order, without a gap. Its rows are
-- inserted and never changed; a signer of its own reads them by index, and keeps outside of this
-- database how far it has come.
CREATE TABLE strongroom.log_entries (
  legal_entity_id uuid NOT NULL,
  index bigint NOT NULL CHECK (index >= 0),
  subject_id uuid NOT NULL, -- a payment, a refund, a customer, …
  version integer NOT NULL,
  of_customer boolean NOT NULL, -- which table of events it is of
  sequenced_at timestamptz NOT NULL,
  entry bytea NOT NULL, -- the leaf of the tree, byte by byte
  PRIMARY KEY (legal_entity_id, index),
  UNIQUE (legal_entity_id, subject_id, version, of_customer)
);

-- How many entries each log has.
CREATE TABLE strongroom.log_heads (
  legal_entity_id uuid PRIMARY KEY,
  size bigint NOT NULL CHECK (size > 0)
);

-- The newest checkpoint of each log, for who reads the database; the signer has its own.
CREATE TABLE strongroom.log_checkpoints (
  legal_entity_id uuid PRIMARY KEY,
  size bigint NOT NULL CHECK (size >= 0),
  note bytea NOT NULL,
  signed_at timestamptz NOT NULL
);

-- What the sequencer has seen: one row. Who holds its lock is the sequencer.
CREATE TABLE directory.log_cursor (
  only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
  seen pg_snapshot NOT NULL, -- what it shows has its place in a log
  is_begun boolean NOT NULL DEFAULT false -- whether what was there before has
);
INSERT INTO directory.log_cursor (seen) VALUES ('3:3:');

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['log_entries', 'log_heads', 'log_checkpoints'] LOOP
    EXECUTE format('ALTER TABLE strongroom.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE strongroom.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY of_entity ON strongroom.%I USING (legal_entity_id = ANY ('
      '(SELECT string_to_array(current_setting(''strongroom.legal_entities'', true), '','')'
      '::uuid[])::uuid[]))', name);
  END LOOP;
END $$;
CREATE POLICY of_sequencer ON strongroom.log_entries FOR INSERT TO strongroom_sequencer
  WITH CHECK (true);
CREATE POLICY of_sequencer ON strongroom.log_heads TO strongroom_sequencer USING (true);
CREATE POLICY of_signer ON strongroom.log_entries FOR SELECT TO strongroom_signer USING (true);
CREATE POLICY of_signer ON strongroom.log_heads FOR SELECT TO strongroom_signer USING (true);
CREATE POLICY of_signer ON strongroom.log_checkpoints TO strongroom_signer USING (true);

GRANT USAGE ON SCHEMA directory, strongroom TO strongroom_sequencer, strongroom_signer;
GRANT INSERT ON strongroom.log_entries TO strongroom_sequencer;
GRANT SELECT, INSERT, UPDATE ON strongroom.log_heads TO strongroom_sequencer;
GRANT SELECT, UPDATE ON directory.log_cursor TO strongroom_sequencer;
GRANT SELECT ON directory.deployment TO strongroom_sequencer, strongroom_signer;
GRANT SELECT ON strongroom.log_entries, strongroom.log_heads TO strongroom_signer;
GRANT SELECT, INSERT, UPDATE ON strongroom.log_checkpoints TO strongroom_signer;
GRANT SELECT ON strongroom.log_entries, strongroom.log_heads, strongroom.log_checkpoints
  TO strongroom_api;
