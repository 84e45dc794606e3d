-- references_number: how many lines there are
SELECT (SELECT count(*) FROM gateway_customers
    WHERE legal_entity_id = $1 AND gateway_object_id IS NOT NULL)
  + (SELECT count(*) FROM payment_method_tokens
    WHERE legal_entity_id = $1 AND token IS NOT NULL)
  + (SELECT count(*) FROM attempts WHERE legal_entity_id = $1 AND gateway_object_id IS NOT NULL)
  + (SELECT count(*) FROM refunds WHERE legal_entity_id = $1 AND gateway_object_id IS NOT NULL)
  + (SELECT count(*) FROM disputes WHERE legal_entity_id = $1)
  + (SELECT count(*) FROM payouts WHERE legal_entity_id = $1);

-- references_of_customers: whom gateway accounts know customers as, above the cursor
SELECT customer_id AS id, NULL::uuid AS belongs_to, NULL::text AS merchant_reference,
  gateway_account_id, gateway_object_id, gateway_account_id AS place FROM gateway_customers
WHERE legal_entity_id = $1 AND gateway_object_id IS NOT NULL
  AND (customer_id, gateway_account_id) > ($3, $4)
ORDER BY legal_entity_id, customer_id, gateway_account_id LIMIT $2;

-- references_of_methods: what gateway accounts call saved instruments, above the cursor
SELECT t.payment_method_id AS id, m.customer_id AS belongs_to, NULL::text AS merchant_reference,
  t.gateway_account_id, t.token AS gateway_object_id, t.gateway_account_id AS place
FROM payment_method_tokens t CROSS JOIN LATERAL (SELECT * FROM payment_methods found
  WHERE found.legal_entity_id = t.legal_entity_id
    AND found.payment_method_id = t.payment_method_id LIMIT 1) m
WHERE t.legal_entity_id = $1 AND t.token IS NOT NULL
  AND (t.payment_method_id, t.gateway_account_id) > ($3, $4)
ORDER BY t.legal_entity_id, t.payment_method_id, t.gateway_account_id LIMIT $2;

-- references_of_payments: the objects that attempts have at their gateways, above the cursor
SELECT a.payment_id AS id, NULL::uuid AS belongs_to, p.merchant_reference, a.gateway_account_id,
  a.gateway_object_id, a.attempt_no AS place
FROM attempts a CROSS JOIN LATERAL (SELECT * FROM payments found
  WHERE found.legal_entity_id = a.legal_entity_id AND found.payment_id = a.payment_id LIMIT 1) p
WHERE a.legal_entity_id = $1 AND a.gateway_object_id IS NOT NULL
  AND (a.payment_id, a.attempt_no) > ($3, $4)
ORDER BY a.legal_entity_id, a.payment_id, a.attempt_no LIMIT $2;

-- references_of_refunds: what gateways call refunds, above the cursor
SELECT refund_id AS id, payment_id AS belongs_to, NULL::text AS merchant_reference,
  gateway_account_id, gateway_object_id FROM refunds
WHERE legal_entity_id = $1 AND gateway_object_id IS NOT NULL AND refund_id > $3
ORDER BY legal_entity_id, refund_id LIMIT $2;

-- references_of_disputes: what gateways call disputes, above the cursor
SELECT dispute_id AS id, payment_id AS belongs_to, NULL::text AS merchant_reference,
  gateway_account_id, gateway_object_id FROM disputes
WHERE legal_entity_id = $1 AND dispute_id > $3
ORDER BY legal_entity_id, dispute_id LIMIT $2;

-- references_of_payouts: what gateways call payouts, above the cursor
SELECT payout_id AS id, NULL::uuid AS belongs_to, NULL::text AS merchant_reference,
  gateway_account_id, gateway_object_id FROM payouts
WHERE legal_entity_id = $1 AND payout_id > $3
ORDER BY legal_entity_id, payout_id LIMIT $2;
