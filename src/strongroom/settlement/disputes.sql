-- attempt_disputed: the attempt that a dispute says it is about
SELECT a.gateway_account_id, a.gateway_object_id, p.status, p.review
FROM attempts a
CROSS JOIN LATERAL (SELECT found.status, found.review FROM payments found
  WHERE found.legal_entity_id = a.legal_entity_id AND found.payment_id = a.payment_id LIMIT 1) p
WHERE a.legal_entity_id = $1 AND a.payment_id = $2 AND a.attempt_no = $3;

-- dispute_at_gateway: what we know of an account's dispute
SELECT * FROM disputes
WHERE legal_entity_id = $1 AND gateway_account_id = $2 AND gateway_object_id = $3;

-- settle_dispute: what a gateway showed, in the dispute's row and in its payment's sums
WITH done AS (
  UPDATE payments p SET version = $3, disputed_minor = $4, withheld_minor = $5, review = $6,
    updated_at = $7
  WHERE p.legal_entity_id = $1 AND p.payment_id = $2 AND p.version = $3 - 1
  RETURNING p.payment_id
), dispute AS (
  INSERT INTO disputes AS d (legal_entity_id, dispute_id, payment_id, status, amount_minor,
    currency, disputed_minor, reason, evidence_due_by, has_evidence, submissions, gateway,
    gateway_account_id, gateway_object_id, opened_at, digest_salt, created_at, updated_at)
  SELECT $1, $12, payment_id, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26,
    $7
  FROM done
  ON CONFLICT (legal_entity_id, dispute_id) DO UPDATE SET status = excluded.status,
    amount_minor = excluded.amount_minor, currency = excluded.currency,
    disputed_minor = excluded.disputed_minor, reason = excluded.reason,
    evidence_due_by = excluded.evidence_due_by, has_evidence = excluded.has_evidence,
    submissions = excluded.submissions, updated_at = excluded.updated_at
), new_event AS (
  INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest,
    row_format, payload)
  SELECT $1, payment_id, $3, $8, $9, $7, $10, 4, $11 FROM done
)
SELECT payment_id FROM done;

-- disputes_by_id: rows as they now are, each with its newest answer
SELECT d.*, a.kind AS answer_kind, a.submits AS answer_submits, a.status AS answer_status,
  a.status_reason AS answer_status_reason, a.created_at AS answer_created_at
FROM unnest($1::uuid[], $2::uuid[]) AS item (legal_entity_id, dispute_id)
CROSS JOIN LATERAL (SELECT * FROM disputes found
  WHERE found.legal_entity_id = item.legal_entity_id
    AND found.dispute_id = item.dispute_id LIMIT 1) d
LEFT JOIN LATERAL (SELECT kind, submits, status, status_reason, created_at
  FROM dispute_answers found
  WHERE found.legal_entity_id = d.legal_entity_id AND found.dispute_id = d.dispute_id
  ORDER BY found.answer_id DESC LIMIT 1) a ON true;

-- list_disputes: newest first, below the cursor, each with its newest answer
SELECT d.*, a.kind AS answer_kind, a.submits AS answer_submits, a.status AS answer_status,
  a.status_reason AS answer_status_reason, a.created_at AS answer_created_at
FROM (SELECT * FROM disputes WHERE legal_entity_id = $1 AND dispute_id < $2
  ORDER BY legal_entity_id DESC, dispute_id DESC LIMIT $3) d
LEFT JOIN LATERAL (SELECT kind, submits, status, status_reason, created_at
  FROM dispute_answers found
  WHERE found.legal_entity_id = d.legal_entity_id AND found.dispute_id = d.dispute_id
  ORDER BY found.answer_id DESC LIMIT 1) a ON true
ORDER BY d.dispute_id DESC;

-- list_disputes_of_payment: newest first, below the cursor, of one payment
SELECT d.*, a.kind AS answer_kind, a.submits AS answer_submits, a.status AS answer_status,
  a.status_reason AS answer_status_reason, a.created_at AS answer_created_at
FROM (SELECT * FROM disputes WHERE legal_entity_id = $1 AND payment_id = $4 AND dispute_id < $2
  ORDER BY legal_entity_id DESC, payment_id DESC, dispute_id DESC LIMIT $3) d
LEFT JOIN LATERAL (SELECT kind, submits, status, status_reason, created_at
  FROM dispute_answers found
  WHERE found.legal_entity_id = d.legal_entity_id AND found.dispute_id = d.dispute_id
  ORDER BY found.answer_id DESC LIMIT 1) a ON true
ORDER BY d.dispute_id DESC;

-- ask_answer: an answer, and the event of its payment that says so
WITH done AS (
  UPDATE payments p SET version = $3, updated_at = $4
  WHERE p.legal_entity_id = $1 AND p.payment_id = $2 AND p.version = $3 - 1
  RETURNING p.payment_id
), new_event AS (
  INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest,
    row_format, payload)
  SELECT $1, payment_id, $3, $5, $6, $4, $7, 4, $8 FROM done
)
INSERT INTO dispute_answers (legal_entity_id, answer_id, dispute_id, kind, submits, status, sealed,
  gateway_key, created_at, updated_at)
SELECT $1, $9, $10, $11, $12, 'processing', $13, $14, $4, $4 FROM done
RETURNING answer_id;

-- answer_under_way: whether something is being told to the bank
SELECT count(*) FROM dispute_answers a
WHERE a.legal_entity_id = $1 AND a.dispute_id = $2 AND a.status = 'processing';

-- open_answer: what is to be told to the bank, kept from others until the commit
SELECT a.* FROM dispute_answers a
WHERE a.legal_entity_id = $1 AND a.dispute_id = $2 AND a.status = 'processing' FOR UPDATE;

-- answer_opened: it may be sent from now on; its first moment stays
UPDATE dispute_answers a SET opened_at = coalesce(a.opened_at, $3),
  submissions_before = coalesce(a.submissions_before, $4), updated_at = $3
WHERE a.legal_entity_id = $1 AND a.answer_id = $2;

-- answer_unopened: certainly nothing was sent
UPDATE dispute_answers a SET opened_at = NULL, submissions_before = NULL, updated_at = $3
WHERE a.legal_entity_id = $1 AND a.answer_id = $2 AND a.status = 'processing';

-- end_answer: nothing more is sent; what it said goes, and its payment's history says how it ended
WITH done AS (
  UPDATE payments p SET version = $3, updated_at = $4
  WHERE p.legal_entity_id = $1 AND p.payment_id = $2 AND p.version = $3 - 1
  RETURNING p.payment_id
), new_event AS (
  INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest,
    row_format, payload)
  SELECT $1, payment_id, $3, $5, $6, $4, $7, 4, $8 FROM done
)
UPDATE dispute_answers a SET status = $10, status_reason = $11, sealed = NULL, updated_at = $4
FROM done WHERE a.legal_entity_id = $1 AND a.answer_id = $9 AND a.status = 'processing'
RETURNING a.answer_id;

-- count_stale_evidence: how many texts of one entity an older key seals
SELECT count(*) FROM dispute_answers
WHERE legal_entity_id = $1 AND sealed IS NOT NULL AND substring(sealed, 4, 4) < $2;

-- stale_evidence: those that an older key seals, kept from others until the commit
SELECT answer_id AS row_id, sealed FROM dispute_answers
WHERE legal_entity_id = $1 AND sealed IS NOT NULL AND substring(sealed, 4, 4) < $2 FOR UPDATE;

-- reseal_evidence: the same text under another key
UPDATE dispute_answers SET sealed = $3 WHERE legal_entity_id = $1 AND answer_id = $2;

-- evidence_due: how many disputes of these entities wait for evidence, and the first deadline
SELECT count(*) AS number, min(d.evidence_due_by) AS due_by FROM disputes d
WHERE d.legal_entity_id = ANY ($1::uuid[])
  AND d.status IN ('needs_response', 'warning_needs_response') AND d.evidence_due_by > $2;
