"""Every migration after the first can run while the version before serves."""

import pytest

from strongroom.migrations import FINISHES, Migration, files
from tests.contract import migrating

LATER = files()[1:]


@pytest.mark.parametrize("migration", LATER, ids=lambda one: one.name)
def test_no_migration_stops_requests_or_takes_away_what_they_use(migration):
    assert list(migrating.faults(migration)) == []


def test_each_file_has_a_number_of_its_own():
    assert migrating.out_of_order(files()) == []
    twice = [Migration("0002_a.sql", ""), Migration("0002_b.sql", "")]
    assert migrating.out_of_order(twice) == ["0002_b.sql"]


BAD = {
    "a check that reads all rows": "ALTER TABLE strongroom.jobs ADD CONSTRAINT c CHECK (tries > 0)",
    "a check without a name": "ALTER TABLE strongroom.jobs ADD CHECK (tries > 0)",
    "a second check that reads all rows": "ALTER TABLE strongroom.jobs ADD CONSTRAINT a "
        "CHECK (tries > 0) NOT VALID; ALTER TABLE strongroom.jobs ADD CONSTRAINT b CHECK (lease>0)",
    "a foreign key": "ALTER TABLE strongroom.jobs ADD FOREIGN KEY (a) REFERENCES b (c)",
    "a unique constraint": "ALTER TABLE strongroom.jobs ADD CONSTRAINT u UNIQUE (lease)",
    "an index": "CREATE INDEX i ON strongroom.jobs (legal_entity_id, tries)",
    "a unique index": "CREATE UNIQUE INDEX i ON strongroom.jobs (legal_entity_id, tries)",
    "not null": "ALTER TABLE strongroom.payments ALTER COLUMN gateway SET NOT NULL",
    "a column without a value": "ALTER TABLE strongroom.jobs ADD COLUMN a text NOT NULL",
    "another type": "ALTER TABLE strongroom.jobs ALTER COLUMN tries TYPE bigint",
    "a default that is computed":
        "ALTER TABLE strongroom.jobs ADD COLUMN a uuid DEFAULT uuidv7() NOT NULL",
    "a generated column":
        "ALTER TABLE strongroom.jobs ADD COLUMN a int GENERATED ALWAYS AS (tries + 1) STORED",
    "a lock": "LOCK TABLE strongroom.jobs IN ACCESS EXCLUSIVE MODE",
    "a change of all rows": "UPDATE strongroom.payments SET capture_minor = 0",
    "a deletion": "DELETE FROM strongroom.jobs WHERE tries > 9",
    "a dropped table": "DROP TABLE strongroom.jobs",
    "a dropped column": "ALTER TABLE strongroom.jobs DROP COLUMN tries",
    "a dropped column, said shortly": "ALTER TABLE strongroom.jobs DROP tries",
    "a renamed column": "ALTER TABLE strongroom.jobs RENAME COLUMN tries TO attempts",
    "a right taken away": "REVOKE SELECT ON strongroom.jobs FROM strongroom_api",
    "a table moved": "ALTER TABLE strongroom.jobs SET SCHEMA strongroom_next",
    "validation under another lock": "ALTER TABLE strongroom.jobs ADD COLUMN a int; "
        "ALTER TABLE strongroom.payments VALIDATE CONSTRAINT c",
    "two tables at once": "ALTER TABLE strongroom.jobs ADD COLUMN a int; "
        "CREATE POLICY p ON strongroom.events USING (true)",
    "a shape changed under prepared statements":
        "ALTER TABLE strongroom.payments ADD COLUMN a int",
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_the_checker_finds(name):
    assert list(migrating.faults(Migration("0002_bad.sql", BAD[name])))


def test_the_checker_lets_pass_what_stops_nobody():
    good = """
    CREATE TABLE strongroom.t (legal_entity_id uuid, a int NOT NULL, CHECK (a > 0));
    CREATE INDEX t_a ON strongroom.t (legal_entity_id, a);
    ALTER TABLE strongroom.t ENABLE ROW LEVEL SECURITY;
    ALTER TABLE strongroom.jobs ADD COLUMN a int NOT NULL DEFAULT 0, ADD COLUMN b text,
      ADD CONSTRAINT c CHECK (a BETWEEN 0 AND 9) NOT VALID;
    GRANT SELECT ON strongroom.t TO strongroom_api;
    """
    assert list(migrating.faults(Migration("0009_good.sql", good))) == []
    dropping = FINISHES + "what 0009 began.\nDROP TABLE strongroom.t;"
    assert list(migrating.faults(Migration("0010_finish.sql", dropping))) == []
