"""API keys, the two database roles, and row-level security, on a real PostgreSQL."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from strongroom.config import ConfigurationError
from strongroom.database import begin, connect_pool
from strongroom.directory import check_mode
from strongroom.ids import bucket_of
from strongroom.setup import initialise
from tests.integration.conftest import Deployment

OF_ENTITY = (
    "api_keys", "gateway_accounts", "payments", "idempotency_keys", "merchant_references",
    "attempts", "jobs", "events", "refunds", "refund_jobs",
)  # fmt: skip
OF_THE_WORKER_ALONE = ("walks", "secrets", "reviews")
OF_THE_API_ALONE = (
    "texts", "customers", "customer_events", "customer_keys", "checkout_links", "checkout_limits",
    "checkout_reports",
)  # fmt: skip
OF_BOTH_AND_EMPTY = ("webhook_events",)
OF_THE_LOG = ("log_entries", "log_heads", "log_checkpoints", "log_epochs")
OF_WHAT_COMES_LATER = (
    "alarms", "disputes", "dispute_answers", "payouts", "payout_items", "settlement_looks",
    "sweeps", "webhook_fetches", "payment_methods", "payment_method_tokens",
    "payment_method_jobs", "gateway_customers", "merchant_accounts", "publishable_keys",
    "adopted_customers",
    "account_rests", "consents", "payment_savings", "client_tokens", "card_looks",
    "tax_calculations", "payment_taxes", "tax_transactions", "tax_jobs",
    "webhook_endpoints", "webhook_deliveries",
)  # fmt: skip
LOGINS = ("api", "worker")
EVENTS_AND_OWNERS = [("events", "payment_id"), ("customer_events", "owner_id")]
NAMED = "WHERE p.legal_entity_id = $1 AND p.payment_id = $2"
ABOUT_ANOTHER = (
    f"SELECT FROM payments p {NAMED}",
    f"SELECT FROM payments p {NAMED} FOR UPDATE",
    f"SELECT FROM events p {NAMED}",
    f"SELECT FROM payments p JOIN jobs USING (payment_id) {NAMED}",
    f"WITH p AS (TABLE merchant_references UNION TABLE merchant_references) SELECT FROM p {NAMED}",
    f"SELECT FROM merchant_references r, LATERAL (TABLE attempts) p {NAMED}",
    f"UPDATE payments p SET status = 'canceled' {NAMED} RETURNING 1",
    f"UPDATE jobs p SET run_at = '2000-01-01' {NAMED} RETURNING 1",
    f"SELECT FROM refunds p {NAMED}",
    f"SELECT FROM refunds p JOIN refund_jobs USING (refund_id) {NAMED}",
)


def event_statement(events: str, owner_id: str) -> str:
    """Writes an event: legal entity, owner, version, actor, and a text of when."""
    return (
        f"INSERT INTO {events} (legal_entity_id, {owner_id}, version, kind, actor, at, row_digest, "
        "payload) VALUES ($1, $2, $3, 'x', $4, $5::text::timestamptz, sha256(''), '')"
    )


@pytest.fixture
async def api(deployment: Deployment) -> AsyncIterator[asyncpg.Connection]:
    """A connection with the rights of the API."""
    connection = await asyncpg.connect(
        deployment.url("api"), server_settings={"search_path": "strongroom, directory"}
    )
    yield connection
    await connection.close()


async def counts(connection: asyncpg.Connection) -> dict[str, int]:
    """How many rows of each table of an entity can be seen."""
    return {
        table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in OF_ENTITY
    }


class TestRowLevelSecurity:
    """What a login sees and may do, whatever statement it sends."""

    async def test_shows_nothing_without_the_setting(self, api: asyncpg.Connection) -> None:
        assert set((await counts(api)).values()) == {0}

    async def test_shows_the_rows_of_the_named_entity_only(
        self, api: asyncpg.Connection, deployment: Deployment
    ) -> None:
        await begin(api, [deployment.ours.legal_entity_id])
        for table in OF_ENTITY:
            rows = await api.fetch(f"SELECT legal_entity_id FROM {table}")
            assert [row[0] for row in rows] == [deployment.ours.legal_entity_id], table
        await api.execute("COMMIT")
        assert set((await counts(api)).values()) == {0}

    async def test_forgets_the_setting_with_the_transaction_also_for_an_empty_list(
        self, api: asyncpg.Connection
    ) -> None:
        await begin(api, [])
        assert set((await counts(api)).values()) == {0}
        await api.execute("ROLLBACK")

    async def test_hides_another_entity_from_every_statement(
        self, api: asyncpg.Connection, deployment: Deployment
    ) -> None:
        theirs = deployment.theirs
        await begin(api, [deployment.ours.legal_entity_id])
        for statement in ABOUT_ANOTHER:
            found = await api.fetch(statement, theirs.legal_entity_id, theirs.payment_id)
            assert found == [], statement
        await api.execute("ROLLBACK")

    async def test_refuses_rows_for_another_entity(
        self, api: asyncpg.Connection, deployment: Deployment
    ) -> None:
        ours, theirs = deployment.ours, deployment.theirs
        for statement, values in (
            ("INSERT INTO merchant_references VALUES ($1, 'new', $2)",
             (theirs.legal_entity_id, theirs.payment_id)),
            ("UPDATE payments SET legal_entity_id = $1 WHERE payment_id = $2",
             (theirs.legal_entity_id, ours.payment_id)),
            ("INSERT INTO events VALUES ($1, $2, 2, 'x', 'x', '2026-12-01', 'x', '')",
             (theirs.legal_entity_id, theirs.payment_id)),
        ):  # fmt: skip
            await begin(api, [ours.legal_entity_id])
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await api.execute(statement, *values)
            await api.execute("ROLLBACK")

    @pytest.mark.parametrize("login", LOGINS)
    @pytest.mark.parametrize(("events", "owner_id"), EVENTS_AND_OWNERS)
    async def test_writes_no_event_in_an_operators_name(
        self, deployment: Deployment, login: str, events: str, owner_id: str
    ) -> None:
        """Else who has stolen a login could have the log sign what no person has done."""
        ours = deployment.ours
        statement = event_statement(events, owner_id)
        connection = await asyncpg.connect(
            deployment.url(login), server_settings={"search_path": "strongroom, directory"}
        )
        try:
            for actor in ("operator:alice", login):
                await begin(connection, [ours.legal_entity_id])
                written = connection.execute(
                    statement, ours.legal_entity_id, ours.payment_id, 9, actor, "2026-12-01"
                )
                if actor == login:
                    assert await written == "INSERT 0 1"
                else:
                    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level"):
                        await written
                await connection.execute("ROLLBACK")
        finally:
            await connection.close()

    @pytest.mark.parametrize("jobs", ["jobs", "refund_jobs"])
    async def test_a_worker_finds_jobs_by_bucket_and_nothing_else(
        self, deployment: Deployment, jobs: str
    ) -> None:
        ours = deployment.ours.legal_entity_id
        worker = await asyncpg.connect(
            deployment.url("worker"), server_settings={"search_path": "strongroom, directory"}
        )
        try:
            async with worker.transaction():
                await worker.execute(f"SET LOCAL strongroom.buckets = '{bucket_of(ours)}'")
                seen = {row[0] for row in await worker.fetch(f"SELECT bucket FROM {jobs}")}
                assert seen == {bucket_of(ours)}
                assert await worker.fetch("SELECT FROM payments") == []
            assert await worker.fetch(f"SELECT FROM {jobs}") == []
        finally:
            await worker.close()


FIXED_IN_A_PAYMENT = (
    "legal_entity_id", "payment_id", "amount_minor", "currency", "merchant_reference",
    "description", "metadata", "not_after", "gateway_key_seed", "digest_salt", "created_at",
    "capture",
)  # fmt: skip
NOT_OF_THE_API = (
    *FIXED_IN_A_PAYMENT, "captured_minor", "attempt_no", "review", "capture_before",
    "refunded_minor", "disputed_minor", "withheld_minor", "decline",
)  # fmt: skip
NOT_OF_THE_WORKER = (*FIXED_IN_A_PAYMENT, "return_url")
FIXED_IN_AN_ATTEMPT = (
    "legal_entity_id", "payment_id", "attempt_no", "kind", "gateway", "gateway_account_id",
    "gateway_key", "staged", "amount_minor", "currency", "parameters", "opened_at",
)  # fmt: skip
FIXED_IN_A_REFUND = (
    "legal_entity_id", "refund_id", "payment_id", "amount_minor", "currency", "reason", "metadata",
    "gateway", "gateway_account_id", "gateway_key", "digest_salt", "created_at",
)  # fmt: skip
FORBIDDEN = {
    "api": (
        "UPDATE events SET kind = 'other'",
        "DELETE FROM events",
        "TRUNCATE events",
        "SELECT FROM events_2026_12",
        "UPDATE events_2026_12 SET kind = 'other'",
        "DELETE FROM payments",
        "TRUNCATE payments",
        *(f"UPDATE payments SET {column} = NULL" for column in NOT_OF_THE_API),
        "DELETE FROM idempotency_keys",
        "UPDATE idempotency_keys SET fingerprint = 'x'",
        "DELETE FROM merchant_references",
        "UPDATE merchant_references SET merchant_reference = 'other'",
        "DELETE FROM jobs",
        "INSERT INTO attempts DEFAULT VALUES",
        "UPDATE attempts SET state = 'approved'",
        "DELETE FROM refunds",
        "UPDATE refunds SET status = 'succeeded'",
        "UPDATE refunds SET amount_minor = 1",
        "DELETE FROM refund_jobs",
        "UPDATE refund_jobs SET run_at = '2000-01-01'",
        "UPDATE api_keys SET revoked_at = NULL",
        "INSERT INTO api_keys DEFAULT VALUES",
        "SELECT created_at FROM secrets",
        "UPDATE gateway_accounts SET base_url = 'http://elsewhere.example'",
        "UPDATE directory.deployment SET mode = 'live'",
        "INSERT INTO directory.legal_entities DEFAULT VALUES",
    ),
    "worker": (
        "UPDATE events SET kind = 'other'",
        "DELETE FROM events",
        "DELETE FROM payments",
        "INSERT INTO payments DEFAULT VALUES",
        *(f"UPDATE payments SET {column} = NULL" for column in NOT_OF_THE_WORKER),
        "DELETE FROM attempts",
        *(f"UPDATE attempts SET {column} = NULL" for column in FIXED_IN_AN_ATTEMPT),
        "SELECT fingerprint FROM idempotency_keys",
        "UPDATE idempotency_keys SET payment_id = payment_id",
        "DELETE FROM walks",
        "INSERT INTO idempotency_keys DEFAULT VALUES",
        "INSERT INTO jobs DEFAULT VALUES",
        "DELETE FROM refunds",
        "INSERT INTO refunds DEFAULT VALUES",
        "INSERT INTO refund_jobs DEFAULT VALUES",
        *(f"UPDATE refunds SET {column} = NULL" for column in FIXED_IN_A_REFUND),
        "SELECT secret_digest FROM api_keys",
        "UPDATE gateway_accounts SET base_url = 'http://elsewhere.example'",
        "UPDATE secrets SET sealed = sealed",
        "INSERT INTO secrets DEFAULT VALUES",
        "DELETE FROM secrets",
        "UPDATE merchant_references SET merchant_reference = 'other'",
        "UPDATE directory.deployment SET mode = 'live'",
    ),
}
FOR_BOTH = (
    "ALTER TABLE payments DISABLE ROW LEVEL SECURITY",
    "DROP POLICY of_entity ON payments",
    "SET ROLE strongroom",
    "CREATE TABLE strongroom.mine ()",
    "CREATE TABLE public.mine ()",
    "CREATE TEMPORARY TABLE mine ()",
    "CREATE SCHEMA mine",
    "SET session_replication_role = replica",
)


class TestRoles:
    """The processes' logins own nothing and may do what their work needs."""

    @pytest.mark.parametrize("login", LOGINS)
    async def test_may_not_do_what_is_not_theirs(self, login: str, deployment: Deployment) -> None:
        connection = await asyncpg.connect(
            deployment.url(login), server_settings={"search_path": "strongroom, directory"}
        )
        allowed = []
        for statement in FORBIDDEN[login] + FOR_BOTH:
            await begin(connection, [deployment.ours.legal_entity_id])
            try:
                await connection.execute(statement)
            except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidParameterValueError):
                pass
            else:
                allowed.append(statement)
            await connection.execute("ROLLBACK")
        await connection.close()
        assert allowed == []

    @pytest.mark.parametrize("login", LOGINS)
    async def test_every_column_of_a_payment_is_either_theirs_or_refused(
        self, login: str, deployment: Deployment
    ) -> None:
        refused = NOT_OF_THE_API if login == "api" else NOT_OF_THE_WORKER
        connection = await asyncpg.connect(
            deployment.url(login), server_settings={"search_path": "strongroom, directory"}
        )
        try:
            await begin(connection, [deployment.ours.legal_entity_id])
            [row] = await connection.fetch("SELECT * FROM payments")
            theirs = [column for column in dict(row) if column not in refused]
            changed = ", ".join(f"{column} = {column}" for column in theirs)
            assert await connection.execute(f"UPDATE payments SET {changed}") == "UPDATE 1"
            await connection.execute("ROLLBACK")
        finally:
            await connection.close()
        assert set(refused) < set(dict(row))

    @pytest.mark.parametrize("login", LOGINS)
    async def test_own_nothing_and_have_no_powers(self, login: str, deployment: Deployment) -> None:
        connection = await asyncpg.connect(deployment.url(login))
        try:
            roles = await connection.fetch(
                "SELECT oid, rolname, rolsuper, rolcreatedb, rolcreaterole, rolbypassrls, "
                "rolreplication FROM pg_roles WHERE pg_has_role(current_user, oid, 'MEMBER')"
            )
            assert {row["rolname"] for row in roles} == {
                f"strongroom_{login}",
                await connection.fetchval("SELECT current_user"),
            }
            assert not any(any(list(row.values())[2:]) for row in roles)
            owned = await connection.fetchval(
                "SELECT (SELECT count(*) FROM pg_class WHERE relowner = ANY ($1::oid[])) + "
                "(SELECT count(*) FROM pg_namespace WHERE nspowner = ANY ($1::oid[])) + "
                "(SELECT count(*) FROM pg_proc WHERE proowner = ANY ($1::oid[])) + "
                "(SELECT count(*) FROM pg_database WHERE datdba = ANY ($1::oid[]))",
                [row["oid"] for row in roles],
            )
            assert owned == 0
        finally:
            await connection.close()

    async def test_every_table_of_an_entity_forces_row_level_security(
        self, deployment: Deployment
    ) -> None:
        owner = await asyncpg.connect(deployment.owner_url)
        try:
            rows = await owner.fetch(
                "SELECT relname, relrowsecurity AND relforcerowsecurity AS forced, "
                "relispartition FROM pg_class WHERE relnamespace = 'strongroom'::regnamespace "
                "AND relkind IN ('r', 'p')"
            )
            granted = await owner.fetch(
                "SELECT DISTINCT table_name FROM information_schema.role_table_grants "
                "WHERE table_schema = 'strongroom' "
                "AND grantee IN ('strongroom_api', 'strongroom_worker', 'PUBLIC')"
            )
        finally:
            await owner.close()
        forced = {row["relname"] for row in rows if row["forced"]}
        assert forced == {
            *OF_ENTITY, *OF_THE_WORKER_ALONE, *OF_THE_API_ALONE, *OF_BOTH_AND_EMPTY,
            *OF_WHAT_COMES_LATER, *OF_THE_LOG,
        }  # fmt: skip
        # Partitions have no policy of their own, so nobody may reach them but through the table.
        assert {row["table_name"] for row in granted} <= forced


class TestMode:
    """A process that runs in another mode than its database refuses."""

    async def test_is_what_init_wrote(self, deployment: Deployment) -> None:
        pool = await connect_pool(deployment.url("api"), size_max=1, application="test")
        try:
            await check_mode(pool, "dev")
            with pytest.raises(ConfigurationError, match="mode dev, this process runs in live"):
                await check_mode(pool, "live")
        finally:
            await pool.close()
        with pytest.raises(ConfigurationError, match="another mode"):
            await initialise(deployment.home, deployment.owner_url, "live", "strongroom.test/1")

    async def test_of_an_empty_database_is_none(self, database_url: str) -> None:
        pool = await connect_pool(database_url, size_max=1, application="test")
        try:
            with pytest.raises(ConfigurationError, match="strongroom init"):
                await check_mode(pool, "dev")
        finally:
            await pool.close()
