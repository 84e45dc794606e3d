-- known_payouts: which of these the account has shown us before
SELECT p.gateway_object_id FROM payouts p
WHERE p.legal_entity_id = $1 AND p.gateway_account_id = $2
  AND p.gateway_object_id = ANY ($3::text[]);

-- payout_at_gateway: what we know of an account's payout, kept from others until the commit
SELECT * FROM payouts
WHERE legal_entity_id = $1 AND gateway_account_id = $2 AND gateway_object_id = $3 FOR UPDATE;

-- settle_payout: what a gateway showed, with its event
WITH done AS (
  INSERT INTO payouts AS p (legal_entity_id, payout_id, version, status, status_reason,
    amount_minor, currency, arrives_at, itemised, gateway, gateway_account_id, gateway_object_id,
    opened_at, digest_salt, created_at, updated_at)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
  ON CONFLICT (legal_entity_id, payout_id) DO UPDATE SET version = excluded.version,
    status = excluded.status, status_reason = excluded.status_reason,
    amount_minor = excluded.amount_minor, currency = excluded.currency,
    arrives_at = excluded.arrives_at, itemised = excluded.itemised,
    updated_at = excluded.updated_at
  WHERE p.version = excluded.version - 1
  RETURNING p.payout_id
), new_event AS (
  INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest, payload)
  SELECT $1, payout_id, $3, $17, $18, $16, $19, $20 FROM done
)
SELECT payout_id FROM done;

-- add_items: what a payout is made of, each movement once; what it is of ours may be known later
INSERT INTO payout_items AS i (legal_entity_id, payout_id, gateway_item, kind, amount_minor,
  fee_minor, currency, gateway_source, payment_id, refund_id, dispute_id)
SELECT $1, $2, item.* FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[],
  $8::text[], $9::uuid[], $10::uuid[], $11::uuid[]) AS item (gateway_item, kind, amount_minor,
  fee_minor, currency, gateway_source, payment_id, refund_id, dispute_id)
ORDER BY gateway_item
ON CONFLICT (legal_entity_id, payout_id, gateway_item) DO UPDATE SET
  payment_id = excluded.payment_id, refund_id = excluded.refund_id,
  dispute_id = excluded.dispute_id
WHERE num_nonnulls(i.payment_id, i.refund_id, i.dispute_id) = 0
  AND num_nonnulls(excluded.payment_id, excluded.refund_id, excluded.dispute_id) > 0;

-- attempts_paid_out: which attempts of this account made these objects of its gateway
SELECT a.payment_id, a.gateway_object_id
FROM unnest($1::uuid[], $3::uuid[], $4::integer[])
  AS item (legal_entity_id, payment_id, attempt_no)
CROSS JOIN LATERAL (SELECT * FROM attempts found
  WHERE found.legal_entity_id = item.legal_entity_id AND found.payment_id = item.payment_id
    AND found.attempt_no = item.attempt_no LIMIT 1) a
WHERE a.gateway_account_id = $2;

-- refunds_paid_out: which of these refunds are of this account, and what they are called there
SELECT r.refund_id, r.gateway_object_id FROM refunds r
WHERE r.legal_entity_id = $1 AND r.gateway_account_id = $2 AND r.refund_id = ANY ($3::uuid[]);

-- disputes_paid_out: which of these objects are disputes of ours
SELECT d.dispute_id, d.gateway_object_id FROM disputes d
WHERE d.legal_entity_id = $1 AND d.gateway_account_id = $2
  AND d.gateway_object_id = ANY ($3::text[]);

-- items_known: some of what an account's payout is made of
SELECT i.gateway_item FROM payouts p
CROSS JOIN LATERAL (SELECT found.gateway_item FROM payout_items found
  WHERE found.legal_entity_id = p.legal_entity_id AND found.payout_id = p.payout_id
  ORDER BY found.legal_entity_id, found.payout_id, found.gateway_item LIMIT $4) i
WHERE p.legal_entity_id = $1 AND p.gateway_account_id = $2 AND p.gateway_object_id = $3;

-- payouts_by_id: rows as they now are
SELECT p.* FROM unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, payout_id)
CROSS JOIN LATERAL (SELECT * FROM payouts found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.payout_id = item.payout_id LIMIT 1) p;

-- list_payouts: newest first, below the cursor
SELECT * FROM payouts WHERE legal_entity_id = $1 AND payout_id < $2
ORDER BY legal_entity_id DESC, payout_id DESC LIMIT $3;

-- items_of: what a payout is made of, in the order of the gateway's ids
SELECT * FROM payout_items WHERE legal_entity_id = $1 AND payout_id = $2
ORDER BY legal_entity_id, payout_id, gateway_item LIMIT $3;

-- sums_of: all that a payout is made of in sum, and how much of it is nothing of ours
SELECT count(*) AS items, coalesce(sum(i.amount_minor - i.fee_minor), 0)::bigint AS net_minor,
  count(*) FILTER (WHERE i.payment_id IS NULL AND i.refund_id IS NULL AND i.dispute_id IS NULL)
    AS unknown,
  coalesce(sum(i.amount_minor - i.fee_minor) FILTER (WHERE i.payment_id IS NULL
    AND i.refund_id IS NULL AND i.dispute_id IS NULL), 0)::bigint AS unknown_minor
FROM payout_items i WHERE i.legal_entity_id = $1 AND i.payout_id = $2;
