"""What the processes' roles may do, written out: a right more or less is seen in review."""

from typing import Final

KEPT_FROM_WORKERS = (
    "api_keys", "texts", "customers", "customer_events", "customer_keys", "checkout_links",
    "checkout_limits", "checkout_reports", "log_checkpoints", "log_epochs",
)  # fmt: skip
"""Tables that a worker has no right to."""

EVENT = "actor at kind legal_entity_id payload payment_id row_digest row_format version"
CUSTOMER_EVENT = "actor at kind legal_entity_id owner_id payload row_digest version"
"""What is written of an event; by which transaction, the database says."""

ON_TABLES: Final = {
    ("strongroom_api", "directory.deployment"): "SELECT",
    ("strongroom_api", "directory.legal_entities"): "SELECT",
    ("strongroom_api", "strongroom.api_keys"): "SELECT",
    ("strongroom_api", "strongroom.attempts"): "SELECT",
    ("strongroom_api", "strongroom.disputes"): "SELECT",
    ("strongroom_api", "strongroom.customer_events"): "SELECT",
    ("strongroom_api", "strongroom.customer_keys"): "INSERT SELECT",
    ("strongroom_api", "strongroom.customers"): "INSERT SELECT",
    ("strongroom_api", "strongroom.gateway_customers"): "SELECT",
    ("strongroom_api", "strongroom.payment_method_tokens"): "SELECT",
    ("strongroom_api", "strongroom.payment_methods"): "SELECT",
    ("strongroom_api", "strongroom.account_rests"): "SELECT",
    ("strongroom_api", "strongroom.consents"): "INSERT SELECT",
    ("strongroom_api", "strongroom.payment_savings"): "SELECT",
    ("strongroom_worker", "strongroom.account_rests"): "INSERT SELECT",
    ("strongroom_worker", "strongroom.consents"): "DELETE SELECT",
    ("strongroom_worker", "strongroom.payment_savings"): "DELETE SELECT",
    ("strongroom_api", "strongroom.payment_taxes"): "INSERT SELECT",
    ("strongroom_api", "strongroom.tax_jobs"): "SELECT",
    ("strongroom_api", "strongroom.tax_transactions"): "SELECT",
    ("strongroom_worker", "strongroom.payment_taxes"): "SELECT",
    ("strongroom_worker", "strongroom.tax_calculations"): "SELECT",
    ("strongroom_worker", "strongroom.tax_jobs"): "DELETE INSERT SELECT UPDATE",
    ("strongroom_worker", "strongroom.tax_transactions"): "INSERT SELECT",
    ("strongroom_worker", "strongroom.gateway_customers"): "INSERT SELECT",
    ("strongroom_worker", "strongroom.payment_method_jobs"): "DELETE SELECT UPDATE",
    ("strongroom_worker", "strongroom.payment_method_tokens"): "SELECT",
    ("strongroom_worker", "strongroom.payment_methods"): "SELECT",
    ("strongroom_api", "strongroom.checkout_limits"): "DELETE INSERT SELECT",
    ("strongroom_api", "strongroom.checkout_links"): "DELETE INSERT SELECT",
    ("strongroom_api", "strongroom.checkout_reports"): "DELETE INSERT SELECT",
    ("strongroom_api", "strongroom.card_looks"): "DELETE SELECT",
    ("strongroom_worker", "strongroom.card_looks"): "SELECT",
    ("strongroom_api", "strongroom.client_tokens"): "DELETE SELECT",
    ("strongroom_worker", "strongroom.client_tokens"): "SELECT",
    ("strongroom_api", "strongroom.publishable_keys"): "SELECT",
    ("strongroom_worker", "strongroom.publishable_keys"): "SELECT",
    ("strongroom_api", "strongroom.log_entries"): "SELECT",
    ("strongroom_api", "strongroom.log_checkpoints"): "SELECT",
    ("strongroom_api", "strongroom.log_heads"): "SELECT",
    ("strongroom_api", "strongroom.log_epochs"): "SELECT",
    ("strongroom_signer", "strongroom.log_epochs"): "SELECT",
    ("strongroom_sequencer", "directory.deployment"): "SELECT",
    ("strongroom_sequencer", "directory.log_cursor"): "SELECT UPDATE",
    ("strongroom_sequencer", "strongroom.events"): "SELECT",
    ("strongroom_sequencer", "strongroom.customer_events"): "SELECT",
    ("strongroom_sequencer", "strongroom.log_entries"): "INSERT",
    ("strongroom_sequencer", "strongroom.log_heads"): "INSERT SELECT UPDATE",
    ("strongroom_signer", "directory.deployment"): "SELECT",
    ("strongroom_signer", "strongroom.log_entries"): "SELECT",
    ("strongroom_signer", "strongroom.log_heads"): "SELECT",
    ("strongroom_signer", "strongroom.log_checkpoints"): "INSERT SELECT UPDATE",
    ("strongroom_api", "strongroom.events"): "SELECT",
    ("strongroom_api", "strongroom.gateway_accounts"): "SELECT",
    ("strongroom_api", "strongroom.idempotency_keys"): "INSERT SELECT",
    ("strongroom_api", "strongroom.jobs"): "INSERT SELECT UPDATE",
    ("strongroom_api", "strongroom.merchant_accounts"): "SELECT",
    ("strongroom_api", "strongroom.merchant_references"): "INSERT SELECT",
    ("strongroom_api", "strongroom.payments"): "INSERT SELECT",
    ("strongroom_api", "strongroom.payout_items"): "SELECT",
    ("strongroom_api", "strongroom.payouts"): "SELECT",
    ("strongroom_api", "strongroom.refund_jobs"): "INSERT SELECT",
    ("strongroom_api", "strongroom.refunds"): "SELECT",
    ("strongroom_api", "strongroom.settlement_looks"): "INSERT SELECT",
    ("strongroom_api", "strongroom.texts"): "INSERT SELECT",
    ("strongroom_api", "strongroom.webhook_fetches"): "INSERT",
    ("strongroom_worker", "directory.deployment"): "SELECT",
    ("strongroom_worker", "directory.legal_entities"): "SELECT",
    ("strongroom_worker", "strongroom.adopted_customers"): "INSERT SELECT",
    ("strongroom_worker", "strongroom.alarms"): "INSERT SELECT",
    ("strongroom_worker", "strongroom.attempts"): "INSERT SELECT",
    ("strongroom_worker", "strongroom.dispute_answers"): "SELECT",
    ("strongroom_worker", "strongroom.disputes"): "INSERT SELECT",
    ("strongroom_worker", "strongroom.events"): "SELECT",
    ("strongroom_worker", "strongroom.gateway_accounts"): "SELECT",
    ("strongroom_worker", "strongroom.idempotency_keys"): "DELETE",
    ("strongroom_worker", "strongroom.jobs"): "DELETE SELECT UPDATE",
    ("strongroom_worker", "strongroom.merchant_accounts"): "SELECT",
    ("strongroom_worker", "strongroom.merchant_references"): "DELETE INSERT SELECT",
    ("strongroom_worker", "strongroom.payments"): "SELECT",
    ("strongroom_worker", "strongroom.payout_items"): "INSERT SELECT",
    ("strongroom_worker", "strongroom.payouts"): "INSERT SELECT",
    ("strongroom_worker", "strongroom.refund_jobs"): "DELETE SELECT UPDATE",
    ("strongroom_worker", "strongroom.refunds"): "SELECT",
    ("strongroom_worker", "strongroom.reviews"): "DELETE INSERT SELECT",
    ("strongroom_worker", "strongroom.secrets"): "SELECT",
    ("strongroom_worker", "strongroom.settlement_looks"): "DELETE INSERT SELECT UPDATE",
    ("strongroom_worker", "strongroom.sweeps"): "INSERT SELECT",
    ("strongroom_worker", "strongroom.walks"): "INSERT SELECT UPDATE",
    ("strongroom_worker", "strongroom.webhook_events"): "DELETE SELECT",
    ("strongroom_worker", "strongroom.webhook_fetches"): "DELETE INSERT SELECT UPDATE",
    ("strongroom_worker", "strongroom.webhook_deliveries"): "DELETE INSERT SELECT",
    ("strongroom_worker", "strongroom.webhook_endpoints"): "SELECT",
    ("strongroom_worker", "strongroom.log_entries"): "SELECT",
    ("strongroom_worker", "strongroom.log_heads"): "SELECT",
}
ON_COLUMNS: Final = {
    ("strongroom_api", "directory.log_cursor", "SELECT"): "moved_at",
    ("strongroom_api", "strongroom.alarms", "INSERT"):
        "alarm_id bucket gateway_account_id kind legal_entity_id raised_at reason subject",
    ("strongroom_api", "strongroom.alarms", "SELECT"): "alarm_id legal_entity_id",
    ("strongroom_api", "strongroom.customers", "UPDATE"):
        "email_index sealed updated_at version",
    ("strongroom_api", "strongroom.dispute_answers", "INSERT"):
        "answer_id created_at dispute_id gateway_key kind legal_entity_id sealed status submits "
        "updated_at",
    ("strongroom_api", "strongroom.dispute_answers", "SELECT"):
        "answer_id created_at dispute_id kind legal_entity_id status status_reason submits",
    ("strongroom_api", "strongroom.settlement_looks", "UPDATE"):
        "gateway_event_id run_at wanted",
    ("strongroom_api", "strongroom.payment_method_jobs", "INSERT"):
        "bucket legal_entity_id payment_method_id run_at",
    ("strongroom_api", "strongroom.payment_method_tokens", "INSERT"):
        "gateway gateway_account_id legal_entity_id offered payment_method_id",
    ("strongroom_api", "strongroom.payment_methods", "INSERT"):
        "created_at customer_id digest_salt legal_entity_id not_after payment_method_id "
        "return_url status updated_at version",
    ("strongroom_api", "strongroom.payment_methods", "UPDATE"):
        "status status_reason updated_at version",
    ("strongroom_api", "strongroom.payment_method_jobs", "SELECT"):
        "lease legal_entity_id payment_method_id run_at",
    ("strongroom_api", "strongroom.payment_method_jobs", "UPDATE"): "lease run_at",
    ("strongroom_api", "strongroom.payment_savings", "INSERT"):
        "bucket created_at customer_id legal_entity_id payment_id payment_method_id run_at",
    ("strongroom_worker", "strongroom.account_rests", "UPDATE"): "rests_until",
    ("strongroom_worker", "strongroom.webhook_deliveries", "UPDATE"):
        "ended_at first_tried_at outcome run_at state status tried_at tries",
    ("strongroom_worker", "strongroom.webhook_endpoints", "UPDATE"):
        "due_at failing_since failures held_until lease next_index state state_reason "
        "state_since version",
    ("strongroom_worker", "strongroom.payment_savings", "UPDATE"): "lease run_at tries",
    ("strongroom_worker", "strongroom.payment_method_tokens", "INSERT"):
        "gateway gateway_account_id legal_entity_id offered payment_method_id setup_object",
    ("strongroom_worker", "strongroom.payment_methods", "INSERT"):
        "created_at customer_id digest_salt legal_entity_id not_after payment_method_id "
        "return_url status updated_at version",
    ("strongroom_worker", "strongroom.gateway_customers", "UPDATE"):
        "gateway_object_id opened_at",
    ("strongroom_worker", "strongroom.payment_method_jobs", "INSERT"):
        "bucket legal_entity_id payment_method_id run_at",
    ("strongroom_worker", "strongroom.payment_method_tokens", "UPDATE"): "setup_object token",
    ("strongroom_worker", "strongroom.payment_methods", "UPDATE"):
        "next_action sealed status status_reason updated_at version",
    ("strongroom_api", "strongroom.payment_taxes", "UPDATE"): "created_at payment_id",
    ("strongroom_api", "strongroom.tax_calculations", "INSERT"):
        "calculation_id created_at currency digest_salt gateway gateway_account_id "
        "legal_entity_id sealed status updated_at version",
    ("strongroom_api", "strongroom.tax_calculations", "SELECT"):
        "calculation_id created_at currency digest_salt exclusive_minor expires_at gateway "
        "gateway_account_id gateway_object_id inclusive_minor legal_entity_id lines status "
        "status_reason total_minor updated_at version",
    ("strongroom_api", "strongroom.tax_jobs", "INSERT"):
        "bucket calculation_id legal_entity_id run_at",
    ("strongroom_api", "strongroom.tax_jobs", "UPDATE"): "lease run_at tries",
    ("strongroom_worker", "strongroom.tax_calculations", "UPDATE"):
        "exclusive_minor expires_at gateway_object_id inclusive_minor lines sealed status "
        "status_reason total_minor updated_at version",
    ("strongroom_worker", "strongroom.tax_transactions", "UPDATE"):
        "gateway_object_id opened_at status status_reason updated_at",
    ("strongroom_api", "strongroom.checkout_limits", "UPDATE"): "tries",
    ("strongroom_api", "strongroom.checkout_links", "UPDATE"):
        "counted_at counted_card counted_for created_at expires_at revoked_at secret_digest tries",
    ("strongroom_api", "strongroom.checkout_reports", "UPDATE"): "last_at reports",
    ("strongroom_api", "strongroom.card_looks", "INSERT"):
        "asked_at bucket gateway_account_id legal_entity_id payment_id run_at token",
    ("strongroom_api", "strongroom.card_looks", "UPDATE"): "asked_at run_at tries",
    ("strongroom_worker", "strongroom.card_looks", "UPDATE"): "card lease run_at seen_at tries",
    ("strongroom_api", "strongroom.client_tokens", "INSERT"):
        "asked_at bucket currency gateway_account_id legal_entity_id payment_id run_at",
    ("strongroom_api", "strongroom.client_tokens", "UPDATE"): "asked asked_at run_at tries",
    ("strongroom_worker", "strongroom.client_tokens", "UPDATE"):
        "lease made_at run_at sealed tries",
    ("strongroom_api", "strongroom.payments", "UPDATE"):
        "capture_minor closing closing_reason gateway gateway_account_id instrument_token "
        "next_action refunding_minor return_url status status_reason updated_at version ways",
    ("strongroom_api", "strongroom.refunds", "INSERT"):
        "amount_minor created_at currency digest_salt gateway gateway_account_id gateway_key "
        "legal_entity_id metadata payment_id reason refund_id status updated_at",
    ("strongroom_api", "strongroom.secrets", "SELECT"):
        "kind legal_entity_id owner_id retired_at sealed version",
    ("strongroom_sequencer", "strongroom.log_checkpoints", "SELECT"): "legal_entity_id size",
    ("strongroom_sequencer", "strongroom.log_entries", "SELECT"):
        "index legal_entity_id sequenced_at",
    ("strongroom_api", "strongroom.events", "INSERT"): EVENT,
    ("strongroom_worker", "strongroom.events", "INSERT"): EVENT,
    ("strongroom_api", "strongroom.customer_events", "INSERT"): CUSTOMER_EVENT,
    ("strongroom_worker", "strongroom.customer_events", "INSERT"): CUSTOMER_EVENT,
    ("strongroom_api", "strongroom.webhook_events", "INSERT"):
        "amount_minor attempt_no body_digest bucket currency gateway_account_id gateway_event_id "
        "gateway_object_id happened_at kind known_by lane legal_entity_id object_type owner_id "
        "reason received_at run_at state",
    ("strongroom_api", "strongroom.webhook_events", "SELECT"):
        "body_digest gateway_account_id gateway_event_id legal_entity_id",
    ("strongroom_worker", "strongroom.attempts", "UPDATE"):
        "calls decline gateway_object_id raw_code settled_at state",
    ("strongroom_worker", "strongroom.dispute_answers", "UPDATE"):
        "opened_at sealed status status_reason submissions_before updated_at",
    ("strongroom_worker", "strongroom.disputes", "UPDATE"):
        "amount_minor currency disputed_minor evidence_due_by has_evidence reason status "
        "submissions updated_at",
    ("strongroom_worker", "strongroom.idempotency_keys", "SELECT"):
        "created_at idempotency_key legal_entity_id payment_id refund_id",
    ("strongroom_worker", "strongroom.payments", "UPDATE"):
        "attempt_no capture_before capture_minor captured_minor closing closing_reason decline "
        "disputed_minor gateway gateway_account_id instrument_token next_action refunded_minor "
        "refunding_minor review status status_reason updated_at version ways withheld_minor",
    ("strongroom_worker", "strongroom.payout_items", "UPDATE"): "dispute_id payment_id refund_id",
    ("strongroom_worker", "strongroom.payouts", "UPDATE"):
        "amount_minor arrives_at currency itemised status status_reason updated_at version",
    ("strongroom_worker", "strongroom.refunds", "UPDATE"):
        "calls gateway_object_id opened_at parameters review status status_reason updated_at",
    ("strongroom_worker", "strongroom.sweeps", "UPDATE"):
        "cursor found reached_at run_at seen since tries until",
    ("strongroom_worker", "strongroom.webhook_events", "INSERT"):
        "amount_minor attempt_no body_digest bucket currency gateway_account_id gateway_event_id "
        "gateway_object_id happened_at kind known_by lane legal_entity_id object_type owner_id "
        "reason received_at run_at state",
    ("strongroom_worker", "strongroom.webhook_events", "UPDATE"):
        "amount_minor attempt_no currency ended_at known_by lane owner_id reason run_at state "
        "tries",
}  # fmt: skip

ON_TABLES_OF_KEYS: Final = {
    ("strongroom_api", "directory.journal"): "SELECT",
    ("strongroom_api", "strongroom.entity_keys"): "SELECT",
    ("strongroom_api", "strongroom.subject_keys"): "INSERT SELECT",
    ("strongroom_api", "strongroom.tombstones"): "SELECT",
    ("strongroom_worker", "directory.journal"): "SELECT",
    ("strongroom_worker", "strongroom.entity_keys"): "SELECT",
    ("strongroom_worker", "strongroom.subject_keys"): "SELECT",
    ("strongroom_worker", "strongroom.tombstones"): "SELECT",
}
"""In the database of the keys: nobody but its owner changes or destroys one."""
