-- Finishes 0036: nobody says by which transaction an event was written.
REVOKE INSERT ON strongroom.events FROM strongroom_api, strongroom_worker;
GRANT INSERT (legal_entity_id, payment_id, version, kind, actor, at, row_digest, row_format,
  payload)
  ON strongroom.events TO strongroom_api, strongroom_worker;
