"""The SQL contract of the database of the keys, over its statements and its migrated schema."""

import asyncio
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from strongroom.ids import new_entity_id, new_id
from strongroom.migrations import KEYS, files, migrate
from tests.contract import catalog, grants, plans, text

STATEMENTS = text.named_statements(of_keys=True)
NOW = datetime(2026, 11, 15, 12, tzinfo=UTC)
MICROSECONDS = int(NOW.timestamp() * 1_000_000)
SUBJECTS_COUNT = 20_000
BATCH = 128
OF_PAYMENTS = "an index over what changes in a payment"
RULES = [rule for rule in catalog.WRONG if rule != OF_PAYMENTS]
ENTITY = new_entity_id(MICROSECONDS)
SUBJECTS = [new_id(MICROSECONDS + number, ENTITY) for number in range(SUBJECTS_COUNT)]
FILLING: list[tuple[Any, ...]] = [
    ("INSERT INTO strongroom.entity_keys VALUES ($1, 1, 'root', 'wrapped', $2)", ENTITY, NOW),
    ("""INSERT INTO strongroom.subject_keys SELECT $1, id, 1, 'wrapped', $3
    FROM unnest($2::uuid[]) AS id""", ENTITY, SUBJECTS, NOW),
    ("""INSERT INTO strongroom.tombstones SELECT $1, id, $3
    FROM unnest($2::uuid[]) AS id""", ENTITY, SUBJECTS, NOW),
    ("INSERT INTO directory.journal VALUES (1, $1, $2)", ENTITY, NOW),
]  # fmt: skip


@pytest.fixture(scope="module")
def schema_url(postgres_url: str) -> Iterator[str]:
    """A migrated database of keys with 20,000 subjects, shared by the tests of this file."""
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


async def _fill(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await migrate(connection, NOW, package=KEYS)
        for statement, *values in FILLING:
            await connection.execute(statement, *values)
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


@pytest.fixture
async def owner(schema_url):
    connection = await asyncpg.connect(
        schema_url, server_settings={"search_path": "strongroom, directory"}
    )
    yield connection
    await connection.close()


@pytest.fixture(params=catalog.PROCESS_ROLES)
async def process(schema_url, request):
    """As one of our processes: its role, its settings, one entity, all rolled back."""
    settings = {"search_path": "strongroom, directory", "enable_seqscan": "off", "jit": "off",
        "enable_hashjoin": "off", "enable_mergejoin": "off"}  # fmt: skip
    connection = await asyncpg.connect(schema_url, server_settings=settings)
    await connection.execute(
        f"BEGIN; SET LOCAL ROLE {request.param}; SET LOCAL strongroom.legal_entities = '{ENTITY}'"
    )
    yield connection
    await connection.close()


@pytest.mark.parametrize("role", catalog.LOG_ROLES)
async def test_the_roles_of_the_log_have_no_way_to_the_keys(schema_url, role):
    connection = await asyncpg.connect(schema_url)
    try:
        for table in text.KEYS_TABLES:
            assert not await connection.fetchval(
                "SELECT has_any_column_privilege($1, $2, 'SELECT, INSERT, UPDATE')",
                role, f"strongroom.{table}",
            )  # fmt: skip
        assert not await connection.fetchval(
            "SELECT has_schema_privilege($1, 'strongroom', 'USAGE')", role
        )
    finally:
        await connection.close()


@pytest.mark.parametrize("file", files(KEYS), ids=lambda file: file.name)
def test_no_migration_says_what_is_forbidden(file):
    assert list(text.forbidden(file.sql)) == []


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_is_bounded_by_the_entity(name):
    assert not text.unbounded(STATEMENTS[name])
    assert list(text.loose_joins(STATEMENTS[name])) == []


def test_an_unbounded_statement_on_keys_is_found():
    assert text.unbounded("SELECT wrapped FROM subject_keys WHERE subject_id = $1")
    assert STATEMENTS.keys().isdisjoint(text.named_statements())


def test_every_statement_is_used():
    assert text.unused(STATEMENTS, text.product_code()) == []


@pytest.mark.parametrize("name", STATEMENTS)
async def test_every_statement_prepares(owner, name):
    await owner.prepare(STATEMENTS[name])


@pytest.mark.parametrize("wrong", RULES)
async def test_the_schema_holds_nothing_like(owner, wrong):
    assert [row[0] for row in await owner.fetch(catalog.WRONG[wrong])] == []


@pytest.mark.parametrize(
    ("wrong", "statement"),
    [
        ("a table without forced row-level security",
            "ALTER TABLE subject_keys NO FORCE ROW LEVEL SECURITY"),
        ("a table without a policy", "DROP POLICY of_entity ON tombstones"),
        ("a right of everybody", "GRANT SELECT ON entity_keys TO PUBLIC"),
        ("something that a process role owns",
            "ALTER TABLE subject_keys OWNER TO strongroom_api"),
    ],
)  # fmt: skip
async def test_the_schema_checker_finds(owner, wrong, statement):
    await owner.execute("BEGIN")
    await owner.execute(statement)
    assert await owner.fetch(catalog.WRONG[wrong])
    await owner.execute("ROLLBACK")


async def test_grants_are_exactly_these(owner):
    rows = await owner.fetch(catalog.GRANTS)
    found = {(row["role"], row["table"]): " ".join(row["rights"]) for row in rows}
    assert found == grants.ON_TABLES_OF_KEYS
    assert await owner.fetch(catalog.COLUMN_GRANTS) == []


async def test_policies_read_their_setting_once(owner):
    policies = await owner.fetch(catalog.POLICIES)
    assert len(policies) == len(text.KEYS_TABLES)
    for policy in policies:
        assert "current_setting" in policy["qual"]
        assert not catalog.reads_setting_per_row(policy["qual"]), policy["name"]
        assert policy["checked"] is None  # what may be read is what may be written


@pytest.mark.parametrize("table", text.KEYS_TABLES)
async def test_without_its_entity_a_process_sees_nothing(process, table):
    assert await process.fetchval(f"SELECT count(*) FROM {table}") > 0
    for setting in (str(new_entity_id(MICROSECONDS)), ""):
        await process.execute(f"SET LOCAL strongroom.legal_entities = '{setting}'")
        assert await process.fetchval(f"SELECT count(*) FROM {table}") == 0


@pytest.mark.parametrize("statement", [
    "DELETE FROM subject_keys", "UPDATE subject_keys SET wrapped = ''", "TRUNCATE subject_keys",
    "DELETE FROM tombstones", "INSERT INTO tombstones VALUES ($1, $1, $2)",
    "UPDATE entity_keys SET root_key = ''", "DELETE FROM entity_keys",
    "INSERT INTO directory.journal VALUES (1, $1, $2)", "DELETE FROM directory.journal",
])  # fmt: skip
async def test_a_process_cannot_destroy_nor_change(process, statement):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await process.execute(statement, *([ENTITY, NOW] if "$1" in statement else []))


async def test_a_key_of_another_entity_cannot_be_written(process):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await process.execute(
            "INSERT INTO subject_keys VALUES ($1, $2, 1, 'wrapped', $3)",
            new_entity_id(MICROSECONDS), SUBJECTS[0], NOW,
        )  # fmt: skip


VALUES: dict[str, list[Any]] = {
    "subject_keys_of": [[ENTITY] * BATCH, SUBJECTS[:BATCH]],
    "add_subject_keys": [[ENTITY] * BATCH, SUBJECTS[:BATCH], [b"x"] * BATCH, 1, NOW],
    "tombstones_after": [ENTITY, SUBJECTS[0], 512],
    "subject_keys_left": [ENTITY, SUBJECTS[0], 2, 512],
    "destroy_subject_keys": [[ENTITY] * BATCH, SUBJECTS[:BATCH]],
    "rewrap_subject_keys": [
        [ENTITY] * BATCH, SUBJECTS[:BATCH], [b"x"] * BATCH, [b"y"] * BATCH, 2,
    ],
}  # fmt: skip
"""Parameters of the statements that go to the two large tables."""


@pytest.mark.parametrize("name", VALUES)
async def test_plans_go_by_index(owner, name):
    await _as_a_pool_does(owner)
    sql = STATEMENTS[f"vault/subjects.sql:{name}"]
    explained = await owner.fetchval("EXPLAIN (FORMAT JSON) " + sql, *VALUES[name])
    assert plans.slow_reads(explained) == []
    await owner.execute("ROLLBACK")


async def test_the_plan_checker_finds_it(owner):
    await _as_a_pool_does(owner)
    for sql in (
        "SELECT FROM subject_keys WHERE wrapped = 'x'",
        STATEMENTS["vault/subjects.sql:count_subject_keys_left"]
        .replace("$1", f"'{ENTITY}'::uuid").replace("$2", "2"),
    ):  # fmt: skip
        assert plans.slow_reads(await owner.fetchval("EXPLAIN (FORMAT JSON) " + sql))
    await owner.execute("ROLLBACK")


async def _as_a_pool_does(connection: asyncpg.Connection) -> None:
    await connection.execute(
        f"BEGIN; SET LOCAL strongroom.legal_entities = '{ENTITY}'; SET LOCAL enable_seqscan = off; "
        "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
    )
