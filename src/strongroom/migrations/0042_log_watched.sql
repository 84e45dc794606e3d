-- How far the signer is behind is read by the sequencer's login: sizes and times, no entry.
CREATE POLICY of_sequencer ON strongroom.log_checkpoints FOR SELECT TO strongroom_sequencer
  USING (true);
GRANT SELECT (legal_entity_id, size) ON strongroom.log_checkpoints TO strongroom_sequencer;
GRANT SELECT (legal_entity_id, index, sequenced_at) ON strongroom.log_entries
  TO strongroom_sequencer;
