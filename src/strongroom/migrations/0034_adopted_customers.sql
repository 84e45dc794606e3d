-- Which customer of ours a customer that a gateway account had before became; one, and for good.
CREATE TABLE strongroom.adopted_customers (
  legal_entity_id uuid NOT NULL,
  gateway_account_id uuid NOT NULL,
  gateway_object_id text NOT NULL,
  customer_id uuid NOT NULL,
  adopted_at timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, gateway_account_id, gateway_object_id)
);
ALTER TABLE strongroom.adopted_customers ENABLE ROW LEVEL SECURITY;
ALTER TABLE strongroom.adopted_customers FORCE ROW LEVEL SECURITY;
CREATE POLICY of_entity ON strongroom.adopted_customers USING (legal_entity_id = ANY (
  (SELECT string_to_array(current_setting('strongroom.legal_entities', true), ',')
  ::uuid[])::uuid[]));
GRANT SELECT, INSERT ON strongroom.adopted_customers TO strongroom_worker;
