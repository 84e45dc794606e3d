-- The checks of 0002 hold for all rows, not only for those written since.
ALTER TABLE strongroom_next.payments VALIDATE CONSTRAINT payments_capture_check;
ALTER TABLE strongroom_next.payments VALIDATE CONSTRAINT payments_capture_minor_check;
ALTER TABLE strongroom_next.payments VALIDATE CONSTRAINT payments_refunds_check;
