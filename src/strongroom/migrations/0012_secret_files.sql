-- Finishes 0010: the secrets of accounts are in the vault, and the names of their files go.
-- An account in use whose file was never read would be cut off from its gateway: it stops this.
DO $$
DECLARE
  left_out text;
BEGIN
  PERFORM set_config('strongroom.legal_entities', (SELECT
    coalesce(string_agg(legal_entity_id::text, ','), '') FROM directory.legal_entities), true);
  SELECT string_agg(account.secret_file, ', ') INTO left_out
  FROM strongroom.gateway_accounts AS account
  WHERE account.retired_at IS NULL AND account.secret_file <> '' AND NOT EXISTS (
    SELECT FROM strongroom.secrets AS secret
    WHERE secret.legal_entity_id = account.legal_entity_id
      AND secret.owner_id = account.gateway_account_id);
  IF left_out IS NOT NULL THEN
    RAISE EXCEPTION 'these secrets are not in the vault yet, enter them by `strongroom secrets set`'
      ': %', left_out;
  END IF;
END $$;
ALTER TABLE strongroom.gateway_accounts DROP COLUMN secret_file;
