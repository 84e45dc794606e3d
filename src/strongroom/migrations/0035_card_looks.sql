-- What a gateway calls the card of a token, asked before the card is tried on the checkout page: so
-- tries are counted by card, whatever token it comes in and whichever link. The page asks by a row;
-- a worker, which has the gateway's secret, asks the gateway.
CREATE TABLE strongroom.card_looks (
  legal_entity_id uuid NOT NULL,
  payment_id uuid NOT NULL, -- the link's
  token text NOT NULL,
  gateway_account_id uuid NOT NULL,
  bucket smallint NOT NULL,
  asked_at timestamptz NOT NULL,
  run_at timestamptz, -- when a worker is to ask the gateway, or the end of its lease
  lease integer NOT NULL DEFAULT 0,
  tries integer NOT NULL DEFAULT 0,
  seen_at timestamptz,
  card bytea CHECK (octet_length(card) = 32), -- keyed digest; null for what is no card
  PRIMARY KEY (legal_entity_id, payment_id, token),
  CHECK (seen_at IS NOT NULL OR card IS NULL)
);
CREATE INDEX card_looks_due ON strongroom.card_looks (bucket, run_at) WHERE run_at IS NOT NULL;

ALTER TABLE strongroom.card_looks ENABLE ROW LEVEL SECURITY;
ALTER TABLE strongroom.card_looks FORCE ROW LEVEL SECURITY;
CREATE POLICY of_entity ON strongroom.card_looks USING (legal_entity_id = ANY (
  (SELECT string_to_array(current_setting('strongroom.legal_entities', true), ',')
  ::uuid[])::uuid[]));
CREATE POLICY of_bucket ON strongroom.card_looks TO strongroom_worker USING (bucket = ANY (
  (SELECT string_to_array(current_setting('strongroom.buckets', true), ',')
  ::smallint[])::smallint[]));

-- Who shows the page asks, and cannot say what came of it.
GRANT SELECT, DELETE ON strongroom.card_looks TO strongroom_api;
GRANT UPDATE (asked_at, run_at, tries) ON strongroom.card_looks TO strongroom_api;
GRANT INSERT (legal_entity_id, payment_id, token, gateway_account_id, bucket, asked_at, run_at)
  ON strongroom.card_looks TO strongroom_api;
GRANT SELECT ON strongroom.card_looks TO strongroom_worker;
GRANT UPDATE (run_at, lease, tries, seen_at, card) ON strongroom.card_looks TO strongroom_worker;

-- The card that a link's last try is counted for.
ALTER TABLE strongroom.checkout_links ADD COLUMN counted_card bytea;
GRANT UPDATE (counted_card) ON strongroom.checkout_links TO strongroom_api;
