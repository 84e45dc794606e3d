"""The SQL contract, over every .sql file and over the migrated schema of a real database."""

import asyncio
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from strongroom.ids import new_entity_id, new_id
from strongroom.migrations import migrate
from tests.contract import catalog, grants, plans, text

STATEMENTS = text.named_statements()
NOW = datetime(2026, 11, 15, 12, tzinfo=UTC)
MILLISECONDS = int(NOW.timestamp() * 1000)
ROWS = 20_000


# The text.


@pytest.mark.parametrize("file", text.sql_files(), ids=lambda file: file.name)
def test_no_file_says_what_is_forbidden(file):
    assert list(text.forbidden(file.read_text("utf-8"))) == []


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_is_bounded_by_the_entity(name):
    sql = STATEMENTS[name]
    assert not text.unbounded(sql)
    assert list(text.loose_joins(sql)) == []


def test_every_statement_is_used():
    assert text.unused(STATEMENTS, text.product_code()) == []


@pytest.mark.parametrize(
    "bad",
    [
        "SELECT now()", "SELECT CURRENT_TIMESTAMP", "INSERT INTO x VALUES ('now')",
        "SELECT nextval('s')", "CREATE TABLE t (a bigserial)", "SELECT gen_random_uuid()",
        "a uuid REFERENCES b (c)", "CREATE TRIGGER t", "LISTEN jobs", "SELECT pg_notify('a', '')",
        "SELECT pg_advisory_xact_lock(1)", "SAVEPOINT a", "a int GENERATED ALWAYS AS IDENTITY",
        "CREATE FUNCTION f() SECURITY DEFINER",
    ],
)  # fmt: skip
def test_the_text_checker_finds_it(bad):
    assert list(text.forbidden(bad))
    assert not list(text.forbidden("-- " + bad))


def test_the_other_text_checkers_find_it():
    assert text.unbounded("UPDATE payments SET status = 'x' WHERE payment_id = $1")
    assert not text.unbounded("SELECT FROM directory.deployment WHERE deployment = 1")
    assert list(text.loose_joins("SELECT FROM item JOIN payments USING (payment_id)"))
    assert list(text.loose_joins("SELECT FROM a JOIN b ON a.payment_id = b.payment_id"))
    assert text.unused({"a/b.sql:never_called": ""}, 'SQL["called"]')


# The schema.


@pytest.fixture(scope="module")
def schema_url(postgres_url: str) -> Iterator[str]:
    """A migrated database with 20,000 payments, shared by the tests of this file."""
    name = f"test_{uuid.uuid4().hex}"
    url = urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
    asyncio.run(_execute(postgres_url, f'CREATE DATABASE "{name}"'))
    try:
        asyncio.run(_fill(url))
        yield url
    finally:
        asyncio.run(_execute(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)'))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


ENTITY = new_entity_id(MILLISECONDS * 1000)
PAYMENTS = [new_id((MILLISECONDS + number) * 1000, ENTITY) for number in range(ROWS)]


async def _fill(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await migrate(connection, NOW)
        for statement in FILLING:
            await connection.execute(statement, ENTITY, PAYMENTS, NOW)
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


FILLING = (
    """INSERT INTO strongroom.payments (legal_entity_id, payment_id, version, status,
      amount_minor, captured_minor, currency, merchant_reference, metadata, gateway, attempt_no,
      not_after, gateway_key_seed, digest_salt, created_at, updated_at)
    SELECT $1, id, 2, 'processing', 100, 0, 'EUR', 'order-' || id, '{}', 'stripe', 1, $3,
      decode(repeat('00', 16), 'hex'), decode(repeat('00', 16), 'hex'), $3, $3
    FROM unnest($2::uuid[]) AS id""",
    """INSERT INTO strongroom.attempts (legal_entity_id, payment_id, attempt_no, kind, state,
      gateway, gateway_account_id, gateway_key, staged, amount_minor, currency, parameters,
      opened_at)
    SELECT $1, id, 1, 'sale', 'open', 'stripe', $1, 'key', true, 100, 'EUR', '{}', $3
    FROM unnest($2::uuid[]) AS id""",
    """INSERT INTO strongroom.jobs (legal_entity_id, payment_id, bucket, run_at)
    SELECT $1, id, 3, $3 FROM unnest($2::uuid[]) AS id""",
    """INSERT INTO strongroom.merchant_references SELECT $1, 'order-' || id, id
    FROM unnest($2::uuid[]) AS id WHERE $3::timestamptz < 'infinity'""",
    """INSERT INTO strongroom.events
    SELECT $1, id, 1, 'payment.accepted', 'test', $3, decode(repeat('00', 32), 'hex'), ''
    FROM unnest($2::uuid[]) AS id""",
    """INSERT INTO strongroom.idempotency_keys
    SELECT $1, 'key-' || id, 'payments.create', decode(repeat('00', 33), 'hex'), id, $3
    FROM unnest($2::uuid[]) AS id""",
    """INSERT INTO strongroom.refunds (legal_entity_id, refund_id, payment_id, status,
      amount_minor, currency, metadata, gateway, gateway_account_id, gateway_key, digest_salt,
      created_at, updated_at)
    SELECT $1, id, id, 'processing', 1, 'EUR', '{}', 'stripe', $1, 'key',
      decode(repeat('00', 16), 'hex'), $3, $3
    FROM unnest($2::uuid[]) AS id""",
    """INSERT INTO strongroom.refund_jobs (legal_entity_id, refund_id, bucket, run_at)
    SELECT $1, id, 3, $3 FROM unnest($2::uuid[]) AS id""",
    """INSERT INTO strongroom.webhook_events (legal_entity_id, gateway_account_id, gateway_event_id,
      bucket, kind, object_type, gateway_object_id, body_digest, state, happened_at, received_at,
      run_at)
    SELECT $1, $1, 'evt_' || id, 3, 'x', 'x', 'x', decode(repeat('00', 32), 'hex'),
      CASE WHEN id < ($2::uuid[])[100] THEN 'received' WHEN id < ($2::uuid[])[200] THEN 'parked'
        ELSE 'applied' END, $3, $3, $3
    FROM unnest($2::uuid[]) AS id""",
    """INSERT INTO strongroom.reviews
    SELECT $1, id, 'payments', 3, 'amount_mismatch', $3 FROM unnest($2::uuid[]) AS id""",
)  # fmt: skip


@pytest.fixture
async def owner(schema_url):
    connection = await asyncpg.connect(
        schema_url, server_settings={"search_path": "strongroom, directory"}
    )
    yield connection
    await connection.close()


@pytest.fixture
async def worker(schema_url):
    """As a worker's process: its role, its settings, one entity, all rolled back."""
    settings = {"search_path": "strongroom, directory", "enable_seqscan": "off", "jit": "off"}
    connection = await asyncpg.connect(schema_url, server_settings=settings)
    await connection.execute(
        f"BEGIN; SET LOCAL ROLE strongroom_worker; SET LOCAL strongroom.buckets = '3'; "
        f"SET LOCAL strongroom.legal_entities = '{ENTITY}'"
    )
    yield connection
    await connection.close()


@pytest.mark.parametrize("wrong", catalog.WRONG)
async def test_the_schema_holds_nothing_like(owner, wrong):
    assert [row[0] for row in await owner.fetch(catalog.WRONG[wrong])] == []


BAD_SCHEMA = {
    "a primary key or unique index that does not start with legal_entity_id":
        "CREATE UNIQUE INDEX ON strongroom.payments (payment_id, legal_entity_id)",
    "a table without a primary key": "CREATE TABLE strongroom.t (legal_entity_id uuid)",
    "an id that is no uuid": "CREATE TABLE strongroom.t (thing_id bigint)",
    "a foreign key": "CREATE TABLE directory.t (d smallint REFERENCES directory.deployment)",
    "a trigger": "CREATE TRIGGER t BEFORE UPDATE ON strongroom.jobs FOR EACH ROW "
        "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "a sequence": "CREATE TABLE strongroom.t (a int GENERATED ALWAYS AS IDENTITY)",
    "a function": "CREATE FUNCTION strongroom.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "a view or materialised view": "CREATE VIEW strongroom.v AS SELECT 1",
    "a table without forced row-level security":
        "ALTER TABLE strongroom.jobs NO FORCE ROW LEVEL SECURITY",
    "a table without a policy": "DROP POLICY of_entity ON strongroom.payments",
    "a partition that a process may touch":
        "GRANT SELECT ON strongroom.events_beyond TO strongroom_api",
    "a role with more power than a process needs": "ALTER ROLE strongroom_api BYPASSRLS",
    "a process role that is a member of another": "GRANT pg_read_all_data TO strongroom_api",
    "something that a process role owns":
        "ALTER TABLE strongroom.jobs OWNER TO strongroom_worker",
    "a right of everybody": "GRANT SELECT ON strongroom.jobs TO PUBLIC",
    "a right that can be handed on":
        "GRANT SELECT ON strongroom.jobs TO strongroom_api WITH GRANT OPTION",
    "a schema in which a process may create": "GRANT CREATE ON SCHEMA public TO strongroom_api",
    "an index over what changes in a payment":
        "CREATE INDEX ON strongroom.payments (legal_entity_id, status)",
}  # fmt: skip


@pytest.mark.parametrize("wrong", catalog.WRONG)
async def test_the_schema_checker_finds(owner, wrong):
    await owner.execute("BEGIN")
    await owner.execute(BAD_SCHEMA[wrong])
    assert await owner.fetch(catalog.WRONG[wrong])
    await owner.execute("ROLLBACK")


async def test_policies_read_their_setting_once(owner):
    policies = text.without_those_of_the_log(await owner.fetch(catalog.POLICIES))
    by_bucket = [policy for policy in policies if policy["name"].endswith(".of_bucket")]
    assert {policy["name"].partition(".")[0] for policy in by_bucket} == {
        "alarms", "card_looks", "client_tokens", "jobs", "payment_method_jobs", "payment_savings",
        "refund_jobs", "reviews", "settlement_looks", "sweeps", "tax_jobs", "walks",
        "webhook_endpoints", "webhook_events", "webhook_fetches",
    }  # fmt: skip
    narrowing = sorted(policy["name"] for policy in policies if not policy["widens"])
    assert narrowing == [
        "customer_events.not_as_operator", "customer_events.within_bounds",
        "customers.within_bounds", "events.not_as_operator", "events.within_bounds",
        "secrets.of_webhooks", "webhook_endpoints.within_bounds",
    ]  # fmt: skip
    assert len(policies) == len(text.ENTITY_TABLES) + len(by_bucket) + len(narrowing)
    for policy in (one for one in policies if one["widens"]):
        assert "current_setting" in policy["qual"]
        assert not catalog.reads_setting_per_row(policy["qual"]), policy["name"]
        assert policy["checked"] is None  # what may be read is what may be written
    await owner.execute("BEGIN")
    await owner.execute(
        "CREATE POLICY bad ON jobs USING (legal_entity_id = current_setting('a')::uuid)"
    )
    bad = [row for row in await owner.fetch(catalog.POLICIES) if row["name"].endswith(".bad")]
    assert catalog.reads_setting_per_row(bad[0]["qual"])
    await owner.execute("ROLLBACK")


async def test_grants_are_exactly_these(owner):
    rows = await owner.fetch(catalog.GRANTS)
    assert {
        (row["role"], row["table"]): " ".join(row["rights"]) for row in rows
    } == grants.ON_TABLES
    rows = await owner.fetch(catalog.COLUMN_GRANTS)
    found = {(row["role"], row["table"], row["right"]): " ".join(row["columns"]) for row in rows}
    assert found == grants.ON_COLUMNS


@pytest.mark.parametrize(
    "bad",
    [
        "GRANT UPDATE (amount_minor) ON payments TO strongroom_worker",
        "GRANT SELECT (status) ON payments TO PUBLIC",
        "GRANT UPDATE (status) ON payments TO strongroom_api WITH GRANT OPTION",
        "GRANT UPDATE ON payments TO strongroom_api",
    ],
)
async def test_a_grant_too_many_is_seen(owner, bad):
    before = (await owner.fetch(catalog.GRANTS), await owner.fetch(catalog.COLUMN_GRANTS))
    await owner.execute("BEGIN")
    await owner.execute(bad)
    assert (await owner.fetch(catalog.GRANTS), await owner.fetch(catalog.COLUMN_GRANTS)) != before
    await owner.execute("ROLLBACK")


# The statements at work.


@pytest.mark.parametrize("name", STATEMENTS)
async def test_every_statement_prepares(owner, name):
    await owner.prepare(STATEMENTS[name])


@pytest.mark.parametrize("table", text.ENTITY_TABLES)
async def test_without_its_entity_a_process_sees_nothing(worker, owner, table):
    if table in grants.KEPT_FROM_WORKERS:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await worker.fetch(f"SELECT FROM {table}")
        await worker.execute("ROLLBACK; BEGIN; SET LOCAL ROLE strongroom_api")
    stranger = new_entity_id(MILLISECONDS * 1000)
    for setting in (str(stranger), ""):
        await worker.execute(f"SET LOCAL strongroom.legal_entities = '{setting}'")
        await worker.execute("SET LOCAL strongroom.buckets = ''")
        assert await worker.fetchval(f"SELECT count(*) FROM {table}") == 0


@pytest.mark.parametrize("role", catalog.PROCESS_ROLES + catalog.LOG_ROLES)
async def test_a_partition_cannot_be_read_around_the_policy(owner, role):
    await owner.execute(f"BEGIN; SET LOCAL ROLE {role}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await owner.fetch("SELECT FROM events_2026_11")


async def test_a_row_of_another_entity_cannot_be_written(worker):
    stranger = new_entity_id(MILLISECONDS * 1000)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await worker.execute(
            "INSERT INTO events SELECT $1, payment_id, version, kind, actor, at, row_digest, "
            "payload FROM events WHERE payment_id = $2", stranger, PAYMENTS[0],
        )  # fmt: skip


def _values(name: str, sql: str) -> list[object]:
    """Parameters for a batch of 128, by the type that the statement names."""
    batch = PAYMENTS[:128]
    known: dict[str, object] = {
        "uuid[]": batch, "integer[]": [3] * 128, "text[]": ["processing"] * 128,
        "bigint[]": [0] * 128, "jsonb[]": ["{}"] * 128, "bytea[]": [bytes(32)] * 128,
        "timestamptz[]": [NOW] * 128, "boolean[]": [False] * 128, "smallint[]": [3],
    }  # fmt: skip
    values: list[object] = []
    for number in range(1, 1 + max(int(n) for n in re.findall(r"\$(\d+)", sql))):
        typed = re.search(rf"\${number}::([a-z]+\[\])", sql)
        values.append([ENTITY] * 128 if number == 1 and "uuid[]" in sql and name != "claim"
                      else known[typed[1]] if typed else None)  # fmt: skip
    loose: dict[str, list[object]] = {
        "claim": [NOW, 128, NOW + timedelta(seconds=25)],
        "apply": ["worker"],
        "settle_refunds": ["worker"],
        "settle_attempts": [NOW, 50],
        "reschedule": [NOW],
        "claim_refunds": [NOW, 128, NOW + timedelta(seconds=25)],
        "open_refunds": [NOW],
        "reschedule_refunds": [NOW],
        "keep_refund_calls": [50],
        "due_hints": [NOW, 128],
        "hurry_payments": [NOW],
        "hurry_refunds": [NOW],
        "end_hints": [NOW],
        "hints_open": [128],
        "hints_parked": [128],
        "list_refunds_of_payment": [ENTITY, PAYMENTS[-1], 20, PAYMENTS[0]],
    }
    for index, value in enumerate(loose.get(name, [])):
        values[len(values) - len(loose[name]) + index] = value
    return values


@pytest.mark.parametrize("name", plans.OF_THE_WORKER)
async def test_plans_go_by_index(worker, name):
    short = name.rpartition(":")[2]
    sql = STATEMENTS[name]
    explained = await worker.fetchval("EXPLAIN (FORMAT JSON) " + sql, *_values(short, sql))
    assert plans.slow_reads(explained) == []


@pytest.mark.parametrize("name", plans.OF_THE_API)
async def test_plans_of_the_api_go_by_index(worker, name):
    await worker.execute("SET LOCAL ROLE strongroom_api")
    await test_plans_go_by_index(worker, name)


async def test_the_plan_checker_finds_it(worker, owner):
    for connection, sql in (
        (owner, "SELECT FROM payments WHERE status = 'failed'"),
        (worker, "SELECT FROM attempts WHERE gateway_key = 'x'"),
        (worker, "SELECT FROM refunds WHERE status = 'failed'"),
    ):
        explained = await connection.fetchval("EXPLAIN (FORMAT JSON) " + sql)
        assert plans.slow_reads(explained)


async def test_a_change_of_status_stays_heap_only(worker):
    sql = STATEMENTS["payments/engine.sql:apply"]
    values = _values("apply", sql)
    by_name = re.search(r"AS item \(([^)]*)\)", sql)
    assert by_name is not None
    columns = re.split(r",\s*", by_name[1])
    unchanged = ("gateway", "gateway_account_id", "instrument_token")
    for column in (
        *("capture_minor", "capture_before", "closing", "review", "ways", "decline"),
        *unchanged,  # no change of a status makes these longer
    ):
        values[columns.index(column)] = [None] * 128
    applied = await worker.fetch(sql, *values)
    assert len(applied) == 128
    counted = await worker.fetchrow(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'payments'"
    )
    assert counted["n_tup_upd"] == 128
    # These are neighbours, all updated at once: of each page one or two find no room any more.
    assert counted["n_tup_hot_upd"] >= 112
