-- A payment by a saved instrument names its customer at the gateway.
GRANT SELECT ON strongroom.gateway_customers TO strongroom_api;
