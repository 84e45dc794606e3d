-- Secrets of a legal entity, as its credentials at a gateway, sealed under the entity's key for
-- this row alone. Two versions are in use while one takes the other's place. A version that was
-- retired leaves its dates; what it was is gone.
CREATE TABLE strongroom.secrets (
  legal_entity_id uuid NOT NULL,
  owner_id uuid NOT NULL, -- a gateway account
  kind text NOT NULL CHECK (kind ~ '^[a-z][a-z_]{0,39}$'),
  version integer NOT NULL CHECK (version > 0),
  sealed bytea,
  created_at timestamptz NOT NULL,
  rotate_by timestamptz NOT NULL,
  retired_at timestamptz,
  PRIMARY KEY (legal_entity_id, owner_id, kind, version),
  CHECK ((sealed IS NULL) = (retired_at IS NOT NULL))
);
ALTER TABLE strongroom.secrets ENABLE ROW LEVEL SECURITY;
ALTER TABLE strongroom.secrets FORCE ROW LEVEL SECURITY;
CREATE POLICY of_entity ON strongroom.secrets USING (legal_entity_id = ANY (
  (SELECT string_to_array(current_setting('strongroom.legal_entities', true), ',')
  ::uuid[])::uuid[]));

-- Who talks to gateways reads them. The API has no need of one, and only the owner writes.
GRANT SELECT ON strongroom.secrets TO strongroom_worker;

-- An account has no file of its own any more; the version before goes on reading those it knows.
ALTER TABLE strongroom.gateway_accounts ALTER COLUMN secret_file SET DEFAULT '';
