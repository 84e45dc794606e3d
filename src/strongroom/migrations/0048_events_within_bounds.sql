-- Who has the login of the API or of a worker writes no event that stops others: of a time that the
-- log cannot hold, for the sequencer places all entities' events at once, or of a version after
-- which operators have none left for their own. Nor as an operator, in whatever letters.
CREATE POLICY within_bounds ON strongroom.events AS RESTRICTIVE FOR INSERT
  TO strongroom_api, strongroom_worker WITH CHECK (
    version < 1000000000 AND at >= '2000-01-01T00:00:00Z' AND at < '3000-01-01T00:00:00Z'
    AND lower(actor) NOT LIKE 'operator:%');
