-- accounts_of: the gateway accounts of one legal entity, oldest first
SELECT * FROM gateway_accounts WHERE legal_entity_id = $1 ORDER BY gateway_account_id;

-- add_account: a new account; its secret stays in its file
INSERT INTO gateway_accounts (legal_entity_id, gateway_account_id, gateway, environment,
  secret_file, base_url, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- move_account: the address of a stand-in, which may change with its port
UPDATE gateway_accounts SET base_url = $3, secret_file = $4
WHERE legal_entity_id = $1 AND gateway_account_id = $2 AND environment = 'stand_in';
