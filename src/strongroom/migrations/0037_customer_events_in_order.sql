-- As 0036, for the events of customers and their payment methods.
ALTER TABLE strongroom.customer_events ADD COLUMN xid bigint;
ALTER TABLE strongroom.customer_events
  ALTER COLUMN xid SET DEFAULT pg_current_xact_id()::text::bigint;
CREATE POLICY of_sequencer ON strongroom.customer_events FOR SELECT TO strongroom_sequencer
  USING (true);
GRANT SELECT ON strongroom.customer_events TO strongroom_sequencer;
