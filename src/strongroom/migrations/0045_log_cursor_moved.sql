-- When the sequencer looked, whose cursor this is: what was committed before has its place.
ALTER TABLE directory.log_cursor ADD COLUMN moved_at timestamptz;
GRANT SELECT (moved_at) ON directory.log_cursor TO strongroom_api;
