-- add_consent: what a customer agreed to; what was agreed to before stays as it is
INSERT INTO consents (legal_entity_id, payment_method_id, recorded_at, given_at, purpose,
  text_version, sealed)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- newest_consents: what their customers agreed to last, of the payment methods that have it
SELECT c.payment_method_id, c.recorded_at, c.given_at, c.purpose, c.text_version, c.sealed
FROM unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, payment_method_id)
CROSS JOIN LATERAL (SELECT * FROM consents found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.payment_method_id = item.payment_method_id
  ORDER BY found.recorded_at DESC LIMIT 1) c;
