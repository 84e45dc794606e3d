-- What the digest of a row covers grew with the row.
ALTER TABLE strongroom.events ADD COLUMN row_format smallint NOT NULL DEFAULT 1;
