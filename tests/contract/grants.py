"""What the processes' roles may do, written out: a right more or less is seen in review."""

from typing import Final

ON_TABLES: Final = {
    ("strongroom_api", "directory.deployment"): "SELECT",
    ("strongroom_api", "directory.legal_entities"): "SELECT",
    ("strongroom_api", "strongroom.api_keys"): "SELECT",
    ("strongroom_api", "strongroom.attempts"): "SELECT",
    ("strongroom_api", "strongroom.events"): "INSERT SELECT",
    ("strongroom_api", "strongroom.gateway_accounts"): "SELECT",
    ("strongroom_api", "strongroom.idempotency_keys"): "INSERT SELECT",
    ("strongroom_api", "strongroom.jobs"): "INSERT SELECT UPDATE",
    ("strongroom_api", "strongroom.merchant_references"): "INSERT SELECT",
    ("strongroom_api", "strongroom.payments"): "INSERT SELECT",
    ("strongroom_api", "strongroom.refund_jobs"): "INSERT SELECT",
    ("strongroom_api", "strongroom.refunds"): "SELECT",
    ("strongroom_worker", "directory.deployment"): "SELECT",
    ("strongroom_worker", "directory.legal_entities"): "SELECT",
    ("strongroom_worker", "strongroom.attempts"): "INSERT SELECT",
    ("strongroom_worker", "strongroom.events"): "INSERT SELECT",
    ("strongroom_worker", "strongroom.gateway_accounts"): "SELECT",
    ("strongroom_worker", "strongroom.idempotency_keys"): "DELETE",
    ("strongroom_worker", "strongroom.jobs"): "DELETE SELECT UPDATE",
    ("strongroom_worker", "strongroom.merchant_references"): "DELETE INSERT SELECT",
    ("strongroom_worker", "strongroom.payments"): "SELECT",
    ("strongroom_worker", "strongroom.refund_jobs"): "DELETE SELECT UPDATE",
    ("strongroom_worker", "strongroom.refunds"): "SELECT",
    ("strongroom_worker", "strongroom.walks"): "INSERT SELECT UPDATE",
}
ON_COLUMNS: Final = {
    ("strongroom_api", "strongroom.payments", "UPDATE"):
        "capture_minor closing closing_reason gateway gateway_account_id instrument_token "
        "next_action refunding_minor return_url status status_reason updated_at version",
    ("strongroom_api", "strongroom.refunds", "INSERT"):
        "amount_minor created_at currency digest_salt gateway gateway_account_id gateway_key "
        "legal_entity_id metadata payment_id reason refund_id status updated_at",
    ("strongroom_worker", "strongroom.attempts", "UPDATE"):
        "calls decline gateway_object_id raw_code settled_at state",
    ("strongroom_worker", "strongroom.idempotency_keys", "SELECT"):
        "created_at idempotency_key legal_entity_id payment_id refund_id",
    ("strongroom_worker", "strongroom.payments", "UPDATE"):
        "attempt_no capture_before capture_minor captured_minor closing closing_reason "
        "next_action refunded_minor refunding_minor review status status_reason updated_at "
        "version",
    ("strongroom_worker", "strongroom.refunds", "UPDATE"):
        "calls gateway_object_id opened_at parameters review status status_reason updated_at",
}  # fmt: skip
