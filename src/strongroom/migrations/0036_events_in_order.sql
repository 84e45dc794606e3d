-- The transaction that wrote an event: from it the sequencer of the log knows which events were
-- committed since it last looked, without a mark in any row. Events from before have none.
ALTER TABLE strongroom.events ADD COLUMN xid bigint;
ALTER TABLE strongroom.events ALTER COLUMN xid SET DEFAULT pg_current_xact_id()::text::bigint;
-- What a line of the log is made of holds no line of its own, and has room in one.
ALTER TABLE strongroom.events ADD CONSTRAINT events_one_line CHECK (octet_length(kind) <= 80
  AND octet_length(actor) <= 400 AND strpos(kind, ' ') = 0 AND strpos(kind, E'\n') = 0
  AND strpos(actor, E'\n') = 0) NOT VALID;
CREATE POLICY of_sequencer ON strongroom.events FOR SELECT TO strongroom_sequencer USING (true);
GRANT SELECT ON strongroom.events TO strongroom_sequencer;
