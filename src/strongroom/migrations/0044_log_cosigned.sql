-- What a witness cosigned last of each log, for the API: it holds money back when that is too old.
-- Who reads it checks the witness's signature, so it does not matter who wrote it here.
ALTER TABLE strongroom.log_checkpoints ADD COLUMN cosigned bytea;
