-- A webhook about a saved instrument has it looked at.
GRANT INSERT (legal_entity_id, payment_method_id, bucket, run_at)
  ON strongroom.payment_method_jobs TO strongroom_worker;
