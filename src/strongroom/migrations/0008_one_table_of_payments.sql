-- Finishes what 0002 began: the table stands again where it stood, and the view of its old shape
-- goes. Sessions of this version find it by their search path, before and after.
DROP VIEW strongroom.payments;
ALTER TABLE strongroom_next.payments SET SCHEMA strongroom;
DROP SCHEMA strongroom_next;
