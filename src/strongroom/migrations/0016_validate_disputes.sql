-- The check of 0015 holds for all rows, not only for those written since.
DO $$
BEGIN
  EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT payments_disputes_check',
    coalesce(to_regclass('strongroom_next.payments'), 'strongroom.payments'::regclass));
END $$;
