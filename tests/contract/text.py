"""What a statement may say, checked on its text."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from strongroom.database import statements

ROOT: Final = Path(__file__).resolve().parents[2]
PRODUCT: Final = ROOT / "src" / "strongroom"

FORBIDDEN: Final = {
    r"\b(now|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday)\s*\(":
        "asks the server's clock: time is a parameter",
    r"\b(current_timestamp|current_date|current_time|localtime|localtimestamp)\b":
        "asks the server's clock: time is a parameter",
    r"'(now|today|tomorrow|yesterday)'": "asks the server's clock: time is a parameter",
    r"\b(nextval|setval|currval)\s*\(": "uses a sequence: ids are UUIDv7",
    r"\b(small|big)?serial\b": "uses a sequence: ids are UUIDv7",
    r"\bSEQUENCE\b": "uses a sequence: ids are UUIDv7",
    r"\bAS\s+IDENTITY\b": "uses a sequence: ids are UUIDv7",
    r"\b(gen_random_uuid|uuidv4|uuid_generate_\w+)\s*\(": "makes an id that carries no entity",
    r"\bREFERENCES\b|\bFOREIGN\s+KEY\b": "has a foreign key",
    r"\bTRIGGER\b": "has a trigger",
    r"\b(LISTEN|NOTIFY|UNLISTEN)\b|\bpg_notify\b": "uses LISTEN/NOTIFY",
    r"\bpg_(try_)?advisory": "takes an advisory lock",
    r"\bSAVEPOINT\b": "uses a savepoint",
    r"\bSECURITY\s+DEFINER\b": "acts with somebody else's rights",
}  # fmt: skip
"""Pattern and what is wrong with it, in every .sql file, migrations too."""

ENTITY_TABLES: Final = (
    "api_keys", "gateway_accounts", "payments", "idempotency_keys", "merchant_references",
    "merchant_accounts", "publishable_keys",
    "attempts", "jobs", "events", "refunds", "refund_jobs", "reviews", "texts", "secrets",
    "walks", "webhook_events", "alarms", "disputes", "settlement_looks", "customers",
    "customer_events", "customer_keys",
    "sweeps", "webhook_fetches", "webhook_endpoints", "webhook_deliveries", "dispute_answers",
    "payouts", "payout_items",
    "payment_methods", "payment_method_tokens", "payment_method_jobs", "gateway_customers",
    "adopted_customers",
    "account_rests", "consents", "payment_savings",
    "checkout_links", "checkout_limits", "checkout_reports",
    "client_tokens", "card_looks", "log_entries", "log_heads", "log_checkpoints", "log_epochs",
    "tax_calculations", "payment_taxes", "tax_transactions", "tax_jobs",
)  # fmt: skip

POLICIES_OF_THE_LOG: Final = {
    "events.of_sequencer", "customer_events.of_sequencer", "log_entries.of_sequencer",
    "log_heads.of_sequencer", "log_entries.of_signer", "log_heads.of_signer",
    "log_checkpoints.of_signer", "log_heads.of_worker", "log_epochs.of_signer",
    "log_checkpoints.of_sequencer",
}  # fmt: skip
"""The two roles of the log see the logs of all legal entities, and nothing else; a worker sees how
long they are."""

KEYS_TABLES: Final = ("entity_keys", "subject_keys", "tombstones")
"""Those of the database of the keys."""
OF_KEYS: Final = ("vault/keys.sql", "vault/subjects.sql")
"""The files whose statements go to the database of the keys, all others to the payments'."""


def without_those_of_the_log(policies: Sequence[Any]) -> list[Any]:
    """The other policies; those of the log's two roles must all be there."""
    assert {policy["name"] for policy in policies} >= POLICIES_OF_THE_LOG
    return [policy for policy in policies if policy["name"] not in POLICIES_OF_THE_LOG]


def sql_files() -> list[Path]:
    """Every .sql file of the product."""
    return sorted(PRODUCT.rglob("*.sql"))


def named_statements(*, of_keys: bool = False) -> dict[str, str]:
    """`folder/file.sql:name` to SQL, of every file of one database that is not a migration."""
    found = {}
    for file in sql_files():
        folder = file.parent.relative_to(PRODUCT.parent)
        is_of_keys = f"{folder.name}/{file.name}" in OF_KEYS
        if folder.name != "migrations" and is_of_keys == of_keys:
            for name, sql in statements(".".join(folder.parts), file.name).items():
                found[f"{folder.name}/{file.name}:{name}"] = sql
    return found


def without_comments(sql: str) -> str:
    """The text without `-- …`; quoted text stays."""
    return re.sub(r"--[^\n]*", "", sql)


def forbidden(sql: str) -> Iterator[str]:
    """What the text says that it may not say."""
    text = without_comments(sql)
    for pattern, wrong in FORBIDDEN.items():
        if found := re.search(pattern, text, re.IGNORECASE):
            yield f"{found[0]}: {wrong}"


def unbounded(sql: str) -> bool:
    """Whether a statement on tables of entities neither names the entity nor claims by bucket."""
    text = without_comments(sql)
    touches = any(re.search(rf"(?<![.\w]){table}\b", text) for table in ENTITY_TABLES + KEYS_TABLES)
    by_bucket = re.search(r"\bbucket = \w+\.bucket\b|\bbucket = ANY\b", text)
    return touches and "legal_entity_id" not in text and by_bucket is None


def loose_joins(sql: str) -> Iterator[str]:
    """Joins of tables of entities that leave out the entity."""
    text = without_comments(sql)
    for found in re.finditer(r"\bUSING\s*\(([^()]*)\)", text):
        if "legal_entity_id" not in found[1]:
            yield found[0]
    same_id = r"\b(?:AND|WHERE|ON)\s+(\w+)\.(payment|refund)_id = (\w+)\.\2_id"
    for found in re.finditer(same_id, text):
        pair = rf"{found[1]}\.legal_entity_id = {found[3]}\.legal_entity_id"
        if not re.search(pair, text):
            yield found[0]


def unused(names: dict[str, str], code: str) -> list[str]:
    """Statements whose name no code says."""
    return [name for name in names if f'"{name.rpartition(":")[2]}"' not in code]


def product_code() -> str:
    """All Python of the product in one text."""
    return "\n".join(file.read_text("utf-8") for file in sorted(PRODUCT.rglob("*.py")))
