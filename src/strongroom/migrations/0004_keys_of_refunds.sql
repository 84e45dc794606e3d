-- What a key of a refund stands for.
ALTER TABLE strongroom.idempotency_keys ADD COLUMN refund_id uuid;
