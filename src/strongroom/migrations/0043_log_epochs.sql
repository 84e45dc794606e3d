-- Epochs of a log after its first: a restore that lost what was signed begins another one, under
-- another name. Only the database's owner opens one, and the signer begins it only when its own
-- operator has accepted it (docs/restore.md).
CREATE TABLE strongroom.log_epochs (
  legal_entity_id uuid NOT NULL,
  epoch integer NOT NULL CHECK (epoch > 1),
  opened_at_index bigint NOT NULL CHECK (opened_at_index >= 0), -- of the entry that says so
  PRIMARY KEY (legal_entity_id, epoch)
);
ALTER TABLE strongroom.log_epochs ENABLE ROW LEVEL SECURITY;
ALTER TABLE strongroom.log_epochs FORCE ROW LEVEL SECURITY;
CREATE POLICY of_entity ON strongroom.log_epochs USING (legal_entity_id = ANY (
  (SELECT string_to_array(current_setting('strongroom.legal_entities', true), ',')
  ::uuid[])::uuid[]));
CREATE POLICY of_signer ON strongroom.log_epochs FOR SELECT TO strongroom_signer USING (true);
GRANT SELECT ON strongroom.log_epochs TO strongroom_signer, strongroom_api;

-- Whose transactions the cursor counts, by pg_control_system(): in another server they begin anew.
ALTER TABLE directory.log_cursor ADD COLUMN server bigint;
