-- The keys, in a database of their own: a backup of the payments never holds what opens them.
-- Nothing here is worth anything without the KMS, which alone can unwrap the keys of an entity.

CREATE SCHEMA strongroom;
CREATE SCHEMA directory;

-- The keys of a legal entity, wrapped by the KMS; the highest version is the one to seal with.
CREATE TABLE strongroom.entity_keys (
  legal_entity_id uuid NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  root_key text NOT NULL,
  wrapped bytea NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, version)
);

-- The key of a subject, sealed under the wrapping key of its legal entity.
CREATE TABLE strongroom.subject_keys (
  legal_entity_id uuid NOT NULL,
  subject_id uuid NOT NULL,
  entity_key_version integer NOT NULL CHECK (entity_key_version > 0),
  wrapped bytea NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, subject_id)
) WITH (fillfactor = 70);

-- Subjects whose keys were destroyed, for good. Each is in the journal of tombstones as well, which
-- lies outside of every database, so that a restore of this one does not undo it.
CREATE TABLE strongroom.tombstones (
  legal_entity_id uuid NOT NULL,
  subject_id uuid NOT NULL,
  destroyed_at timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, subject_id)
);

-- The journal of tombstones that belongs to these keys: nothing is read without it.
CREATE TABLE directory.journal (
  journal smallint PRIMARY KEY CHECK (journal = 1),
  journal_id uuid NOT NULL,
  made_at timestamptz NOT NULL
);

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['entity_keys', 'subject_keys', 'tombstones'] LOOP
    EXECUTE format('ALTER TABLE strongroom.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE strongroom.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY of_entity ON strongroom.%I USING (legal_entity_id = ANY ('
      '(SELECT string_to_array(current_setting(''strongroom.legal_entities'', true), '','')'
      '::uuid[])::uuid[]))', name);
  END LOOP;
END $$;

-- Least grants: processes read keys, and the API makes those of new subjects. Nobody but the owner
-- changes or destroys one.
GRANT USAGE ON SCHEMA strongroom, directory TO strongroom_api, strongroom_worker;
GRANT SELECT ON ALL TABLES IN SCHEMA strongroom, directory TO strongroom_api, strongroom_worker;
GRANT INSERT ON strongroom.subject_keys TO strongroom_api;
