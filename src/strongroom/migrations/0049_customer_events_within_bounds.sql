-- As 0048, of what is written about customers.
CREATE POLICY within_bounds ON strongroom.customer_events AS RESTRICTIVE FOR INSERT
  TO strongroom_api, strongroom_worker WITH CHECK (
    version < 1000000000 AND at >= '2000-01-01T00:00:00Z' AND at < '3000-01-01T00:00:00Z'
    AND lower(actor) NOT LIKE 'operator:%');
