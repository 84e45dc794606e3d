-- As 0036, for the events of customers and their payment methods.
ALTER TABLE strongroom.customer_events ADD COLUMN xid bigint;
ALTER TABLE strongroom.customer_events
  ALTER COLUMN xid SET DEFAULT pg_current_xact_id()::text::bigint;
-- What a line of the log is made of holds no line of its own, and has room in one.
ALTER TABLE strongroom.customer_events ADD CONSTRAINT customer_events_one_line
  CHECK (octet_length(kind) <= 80
  AND octet_length(actor) <= 400 AND strpos(kind, ' ') = 0 AND strpos(kind, E'\n') = 0
  AND strpos(actor, E'\n') = 0) NOT VALID;
CREATE POLICY of_sequencer ON strongroom.customer_events FOR SELECT TO strongroom_sequencer
  USING (true);
GRANT SELECT ON strongroom.customer_events TO strongroom_sequencer;
