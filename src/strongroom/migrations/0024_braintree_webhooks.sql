-- The API checks the webhooks of Braintree too, by a key that signs nothing else.
ALTER POLICY of_webhooks ON strongroom.secrets
  USING (kind IN ('stripe_webhook_secret', 'braintree_webhook_key'));
