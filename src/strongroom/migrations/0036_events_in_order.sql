-- The transaction that wrote an event: from it the sequencer of the log knows which events were
-- committed since it last looked, without a mark in any row. Events from before have none.
ALTER TABLE strongroom.events ADD COLUMN xid bigint;
ALTER TABLE strongroom.events ALTER COLUMN xid SET DEFAULT pg_current_xact_id()::text::bigint;
CREATE POLICY of_sequencer ON strongroom.events FOR SELECT TO strongroom_sequencer USING (true);
GRANT SELECT ON strongroom.events TO strongroom_sequencer;
