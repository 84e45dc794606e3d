-- What a merchant tells a bank: evidence, staged or submitted, or that he gives in. Written down
-- before it is sent. The texts are sealed, and go as soon as the gateway has them.
CREATE TABLE strongroom.dispute_answers (
  legal_entity_id uuid NOT NULL,
  answer_id uuid NOT NULL,
  dispute_id uuid NOT NULL,
  kind text NOT NULL CHECK (kind IN ('evidence', 'accept')),
  submits boolean NOT NULL,
  status text NOT NULL CHECK (status IN ('processing', 'done', 'refused', 'outcome_unknown')),
  status_reason text,
  sealed bytea,
  gateway_key text NOT NULL,
  submissions_before integer,
  opened_at timestamptz,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (legal_entity_id, answer_id),
  CHECK ((opened_at IS NULL) = (submissions_before IS NULL)),
  CHECK (sealed IS NULL OR kind = 'evidence')
) WITH (fillfactor = 50);
CREATE INDEX dispute_answers_of_dispute
  ON strongroom.dispute_answers (legal_entity_id, dispute_id, answer_id);
-- One at a time: what comes of the one decides whether there is anything left to answer.
CREATE UNIQUE INDEX dispute_answers_open
  ON strongroom.dispute_answers (legal_entity_id, dispute_id) WHERE status = 'processing';

ALTER TABLE strongroom.dispute_answers ENABLE ROW LEVEL SECURITY;
ALTER TABLE strongroom.dispute_answers FORCE ROW LEVEL SECURITY;
CREATE POLICY of_entity ON strongroom.dispute_answers USING (legal_entity_id = ANY (
  (SELECT string_to_array(current_setting('strongroom.legal_entities', true), ',')
  ::uuid[])::uuid[]));

GRANT SELECT (legal_entity_id, answer_id, dispute_id, kind, submits, status, status_reason,
  created_at) ON strongroom.dispute_answers TO strongroom_api;
GRANT INSERT (legal_entity_id, answer_id, dispute_id, kind, submits, status, sealed, gateway_key,
  created_at, updated_at) ON strongroom.dispute_answers TO strongroom_api;
GRANT SELECT ON strongroom.dispute_answers TO strongroom_worker;
GRANT UPDATE (status, status_reason, sealed, submissions_before, opened_at, updated_at)
  ON strongroom.dispute_answers TO strongroom_worker;
-- Who asks has the dispute looked at.
GRANT SELECT, INSERT ON strongroom.settlement_looks TO strongroom_api;
GRANT UPDATE (wanted, gateway_event_id, run_at) ON strongroom.settlement_looks TO strongroom_api;
