-- Who has the API's login leaves every customer a version for its erasure.
CREATE POLICY within_bounds ON strongroom.customers AS RESTRICTIVE FOR ALL
  TO strongroom_api USING (true) WITH CHECK (version < 1000000000);
