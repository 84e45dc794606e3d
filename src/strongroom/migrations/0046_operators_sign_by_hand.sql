-- Who has the login of the API or of a worker writes no event in an operator's name: what people
-- have done by hand is written by the owner of the database alone.
CREATE POLICY not_as_operator ON strongroom.events AS RESTRICTIVE FOR INSERT
  TO strongroom_api, strongroom_worker WITH CHECK (actor NOT LIKE 'operator:%');
