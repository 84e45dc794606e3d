-- Finishes 0037: nobody says by which transaction an event was written.
REVOKE INSERT ON strongroom.customer_events FROM strongroom_api, strongroom_worker;
GRANT INSERT (legal_entity_id, owner_id, version, kind, actor, at, row_digest, payload)
  ON strongroom.customer_events TO strongroom_api, strongroom_worker;
