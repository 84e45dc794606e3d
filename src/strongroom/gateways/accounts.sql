-- accounts_of: the gateway accounts of one legal entity, oldest first
SELECT a.legal_entity_id, a.gateway_account_id, a.gateway, a.environment, a.base_url, a.retired_at,
  k.publishable_key
FROM gateway_accounts a LEFT JOIN publishable_keys k ON k.legal_entity_id = a.legal_entity_id
  AND k.gateway_account_id = a.gateway_account_id
WHERE a.legal_entity_id = $1 ORDER BY a.gateway_account_id;

-- merchant_accounts_for: where these currencies of these accounts are paid to
SELECT m.gateway_account_id, m.currency, m.paid_to, m.three_d_secure
FROM unnest($1::uuid[], $2::uuid[], $3::text[])
  AS item (legal_entity_id, gateway_account_id, currency)
CROSS JOIN LATERAL (SELECT * FROM merchant_accounts found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.gateway_account_id = item.gateway_account_id
    AND found.currency = item.currency LIMIT 1) m;

-- merchant_accounts_of: the merchant accounts of one legal entity's accounts
SELECT gateway_account_id, currency, paid_to, three_d_secure
FROM merchant_accounts WHERE legal_entity_id = $1 ORDER BY gateway_account_id, currency;

-- set_merchant_account: where one currency of an account is paid to, from now on
INSERT INTO merchant_accounts AS m (legal_entity_id, gateway_account_id, currency,
  paid_to, three_d_secure, set_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (legal_entity_id, gateway_account_id, currency) DO UPDATE
SET paid_to = excluded.paid_to,
  three_d_secure = excluded.three_d_secure, set_at = excluded.set_at;

-- remove_merchant_account: one currency of an account is not taken any more
DELETE FROM merchant_accounts
WHERE legal_entity_id = $1 AND gateway_account_id = $2 AND currency = $3
RETURNING currency;

-- add_account: a new account; its secrets are in the vault
INSERT INTO gateway_accounts (legal_entity_id, gateway_account_id, gateway, environment, base_url,
  created_at)
VALUES ($1, $2, $3, $4, $5, $6);

-- move_account: the address of a stand-in, which may change with its port
UPDATE gateway_accounts SET base_url = $3
WHERE legal_entity_id = $1 AND gateway_account_id = $2 AND environment = 'stand_in';

-- name_publishable_key: what a browser may know of an account's credentials
INSERT INTO publishable_keys (legal_entity_id, gateway_account_id, publishable_key)
VALUES ($1, $2, $3)
ON CONFLICT (legal_entity_id, gateway_account_id)
DO UPDATE SET publishable_key = excluded.publishable_key;

-- tell_rests: until when these accounts are left alone; of two workers the longer one counts
INSERT INTO account_rests AS r (legal_entity_id, gateway_account_id, rests_until)
SELECT legal_entity_id, gateway_account_id, rests_until
FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[])
  AS item (legal_entity_id, gateway_account_id, rests_until)
ORDER BY legal_entity_id, gateway_account_id
ON CONFLICT (legal_entity_id, gateway_account_id)
DO UPDATE SET rests_until = greatest(r.rests_until, excluded.rests_until);

-- rests_of: until when the accounts of one legal entity were last said to rest
SELECT gateway_account_id, rests_until FROM account_rests WHERE legal_entity_id = $1;
