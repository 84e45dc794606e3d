-- Who has a worker's login leaves every endpoint a version for what operators do with it.
CREATE POLICY within_bounds ON strongroom.webhook_endpoints AS RESTRICTIVE FOR ALL
  TO strongroom_worker USING (true) WITH CHECK (version < 1000000000);
