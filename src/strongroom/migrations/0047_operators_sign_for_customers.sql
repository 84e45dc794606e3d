-- As 0046, of what is written about customers.
CREATE POLICY not_as_operator ON strongroom.customer_events AS RESTRICTIVE FOR INSERT
  TO strongroom_api, strongroom_worker WITH CHECK (actor NOT LIKE 'operator:%');
