"""The rules of CONTRIBUTING.md that a program can check, each with an example that breaks it.

A rule looks at the files that are there; for a folder that is not there yet it waits.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest

from tests.tidy import imports, shape, words
from tests.tidy.source import Finding, Source, python_files, repository

PRODUCT = ("src/strongroom",)
SHIPPED = ("src",)
CODE = ("src", "tests", "bench", "conftest.py")
PAY = "src/strongroom/payments/claim.py"
CORE = "src/strongroom/payments/decide.py"


@dataclass(frozen=True)
class Rule:
    """A check, the files it looks at, and examples as (path, text): refused, and let pass."""

    check: Callable[[Source], Iterable[Finding]]
    files: Callable[[], list[Source]]
    bad: list[tuple[str, str]]
    good: list[tuple[str, str]]

    @property
    def name(self) -> str:
        return self.check.__name__


def python(*folders: str) -> Callable[[], list[Source]]:
    return lambda: python_files(repository(), *folders)


def code() -> list[Source]:
    sql = [s for s in repository() if s.suffix == ".sql" and s.below("src", "bench")]
    return python_files(repository(), *CODE) + sql


def money_sql() -> list[Source]:
    return [s for s in repository() if s.suffix == ".sql" and s.below(*PRODUCT)]


def everything() -> list[Source]:
    return list(repository())


def function(lines: int) -> str:
    return "def settle():\n" + "    x = 1\n" * (lines - 1)


RULES = [
    Rule(
        imports.ways_in_are_ends,
        python(*PRODUCT),
        bad=[
            (PAY, "from strongroom.http.guard import caller"),
            (PAY, "from strongroom import console"),
            (PAY, "import strongroom.checkout.page"),
            (PAY, "from ..cli import main"),
            ("src/strongroom/payments/__init__.py", "from ..app import build"),
            (PAY, "importlib.import_module('strongroom.http')"),
        ],
        good=[
            (PAY, "from http import HTTPStatus\nfrom strongroom.payments.decide import decide"),
            ("src/strongroom/app.py", "from strongroom.http.guard import caller"),
            ("src/strongroom/console/pages.py", "from strongroom.http.guard import caller"),
        ],
    ),
    Rule(
        imports.pure_stays_pure,
        python(*PRODUCT),
        bad=[
            (CORE, "import asyncio"),
            (CORE, "from asyncpg import Connection"),
            (CORE, "import os.path"),
            (CORE, "def decide():\n    import secrets"),
            (CORE, "from strongroom.clock import Clock"),
            (CORE, "from strongroom.payments import claim"),
            (CORE, "from datetime import datetime\nx = datetime.now()"),
            ("src/strongroom/payments/states.py", "import random"),
            ("src/strongroom/log/tree.py", "leaf = open('x')"),
            ("src/strongroom/money.py", "import time"),
        ],
        good=[
            (CORE, "import hashlib\nfrom strongroom.payments.states import Payment"),
            (CORE, "from strongroom.errors import InvariantBroken\nfrom strongroom import money"),
            (PAY, "import asyncio"),
        ],
    ),
    Rule(
        imports.adapters_are_chosen_at_the_top,
        python(*PRODUCT),
        bad=[
            (PAY, "from strongroom.gateways.stripe.client import StripeGateway"),
            (PAY, "from strongroom.gateways import braintree"),
            ("src/strongroom/gateways/routing.py", "import strongroom.gateways.stripe"),
            ("src/strongroom/http/routes.py", "from strongroom.banks.plaid import client"),
        ],
        good=[
            (PAY, "from strongroom.gateways.port import Gateway"),
            ("src/strongroom/app.py", "from strongroom.gateways.stripe.client import Stripe"),
            ("src/strongroom/local/up.py", "from strongroom.gateways import stripe"),
            ("src/strongroom/gateways/stripe/x.py", "from strongroom.gateways.stripe import y"),
        ],
    ),
    Rule(
        imports.adapters_are_strangers,
        python(*PRODUCT),
        bad=[
            ("src/strongroom/gateways/stripe/x.py", "from strongroom.gateways import braintree"),
            ("src/strongroom/gateways/braintree/x.py", "from ..stripe import client"),
            ("src/strongroom/gateways/newpay/client.py", ""),
        ],
        good=[
            ("src/strongroom/gateways/stripe/x.py", "from strongroom.gateways.port import Gateway"),
            ("src/strongroom/gateways/stripe/x.py", "from . import money"),
            ("src/strongroom/gateways/routing.py", ""),
        ],
    ),
    Rule(
        imports.sdks_stay_in_their_adapter,
        python(*PRODUCT),
        bad=[
            (PAY, "import stripe"),
            ("src/strongroom/app.py", "from stripe import StripeClient"),
            ("src/strongroom/gateways/stripe/client.py", "import braintree"),
        ],
        good=[("src/strongroom/gateways/stripe/client.py", "import stripe")],
    ),
    Rule(
        imports.product_and_stand_ins_are_apart,
        python(*SHIPPED),
        bad=[
            ("src/strongroom/local/up.py", "from strongroom_sandbox.ledger import Ledger"),
            ("src/strongroom_sandbox/ledger.py", "import strongroom.clock"),
        ],
        good=[
            ("src/strongroom_sandbox/ledger.py", "from strongroom_sandbox.clock import Clock"),
            ("src/strongroom/local/up.py", "command = ['-m', 'strongroom_sandbox']"),
            ("tests/test_x.py", "import strongroom\nimport strongroom_sandbox"),
        ],
    ),
    Rule(
        shape.file_length,
        code,
        bad=[(PAY, "x = 1\n" * 401), ("src/strongroom/payments/x.sql", "--\n" * 401)],
        good=[(PAY, "x = 1\n" * 400)],
    ),
    Rule(
        shape.function_length,
        python(*CODE),
        bad=[(PAY, function(71)), (PAY, "async " + function(71))],
        good=[(PAY, function(70))],
    ),
    Rule(
        shape.line_length,
        code,
        bad=[(PAY, "#" * 101), ("src/strongroom/payments/x.sql", "-" * 101)],
        good=[(PAY, "#" * 100)],
    ),
    Rule(
        shape.vague_names,
        python(*CODE),
        bad=[
            ("src/strongroom/services/x.py", ""),
            ("src/strongroom/payments/db_utils.py", ""),
            (PAY, "class PaymentManager: ..."),
            (PAY, "class HTTPHandler: ..."),
            (PAY, "class Base: ..."),
            (PAY, "class _CommonPart: ..."),
        ],
        good=[
            ("src/strongroom/database.py", "class Database: ..."),
            (PAY, "class Managed: ...\nbase_url = 1"),
        ],
    ),
    Rule(
        shape.asserts,
        python(*SHIPPED),
        bad=[(PAY, "def f(x):\n    assert x, 'no'")],
        good=[(PAY, "def f(x):\n    assert_never(x)")],
    ),
    Rule(
        shape.swallowed_errors,
        python(*SHIPPED),
        bad=[
            (PAY, "try:\n    f()\nexcept:\n    raise"),
            (PAY, "try:\n    f()\nexcept Exception:\n    pass"),
            (
                PAY,
                "while x:\n    try:\n        f()\n    except (OSError, Exception):\n        ...",
            ),
            (PAY, "try:\n    f()\nexcept BaseException:\n    ..."),
            (PAY, "with contextlib.suppress(Exception):\n    f()"),
        ],
        good=[
            (PAY, "try:\n    f()\nexcept OSError:\n    pass"),
            (PAY, "try:\n    f()\nexcept Exception:\n    log()\n    raise"),
            (PAY, "with contextlib.suppress(OSError):\n    f()"),
        ],
    ),
    Rule(
        shape.prints,
        python(*SHIPPED),
        bad=[(PAY, "print('x')"), ("src/strongroom_sandbox/ledger.py", "print('x')")],
        good=[
            ("src/strongroom/cli.py", "print('x')"),
            ("src/strongroom/local/up.py", "print('x')"),
            ("src/strongroom_sandbox/__main__.py", "print('x')"),
            (PAY, "reprint('x')"),
        ],
    ),
    Rule(
        shape.own_clocks,
        python(*PRODUCT),
        bad=[
            (PAY, "from datetime import datetime\nx = datetime.now()"),
            (PAY, "import datetime\nx = datetime.datetime.now(datetime.UTC)"),
            (PAY, "import time\nx = time.time()"),
            (PAY, "from time import time_ns as t\nx = t()"),
            (PAY, "x = date.today()"),
        ],
        good=[
            ("src/strongroom/clock.py", "x = datetime.now()"),
            ("src/strongroom/local/up.py", "x = time.time()"),
            (PAY, "x = clock.now()\ny = time.monotonic()"),
        ],
    ),
    Rule(
        shape.module_docstrings,
        python(*CODE),
        bad=[(PAY, "import x")],
        good=[(PAY, '"""Claims jobs."""'), ("src/strongroom/payments/__init__.py", "")],
    ),
    Rule(
        shape.function_docstrings,
        python(*PRODUCT),
        bad=[
            (PAY, "def claim(): ..."),
            (PAY, "class Claim:\n    async def take(self): ..."),
        ],
        good=[
            (PAY, "def _claim(): ..."),
            (PAY, "class Claim:\n    @override\n    def take(self): ..."),
            (PAY, "def claim():\n    'Claims.'\n    def inner(): ..."),
        ],
    ),
    Rule(
        words.sql_words,
        money_sql,
        bad=[
            ("x.sql", sql)
            for sql in [
                "SELECT now()",
                "created_at timestamptz DEFAULT CURRENT_TIMESTAMP",
                "select clock_timestamp()",
                "LISTEN jobs",
                "SELECT pg_notify('jobs', '')",
                "SELECT pg_try_advisory_xact_lock(1)",
                "id bigserial PRIMARY KEY",
                "CREATE SEQUENCE ids",
                "id bigint GENERATED ALWAYS AS IDENTITY",
                "/* why */ CREATE TRIGGER t",
                "SAVEPOINT one",
            ]
        ],
        good=[
            ("x.sql", "-- no now() here\n/* nor\nNOTIFY */ SELECT $1::timestamptz AS nowhere"),
            ("x.sql", "SELECT triggered_by, serials FROM t"),
        ],
    ),
    Rule(
        words.machine_paths,
        everything,
        bad=[
            ("x.md", "see " + "/home" + "/ann/strongroom"),
            ("x.toml", 'cert = "' + "/root" + '/ca.pem"'),
            ("x.py", "open('" + "/Users" + "/ann/x')"),
        ],
        good=[("x.md", "src/strongroom/work/jobs.py, ../work/x, ~/home/x, /var/lib/strongroom")],
    ),
    Rule(
        words.registry_hosts,
        everything,
        bad=[
            ("x.lock", "--" + "index-url https://packages.example/simple"),
            ("x.md", "from https://" + "pypi" + ".org/project/x"),
        ],
        good=[("x.md", "from the package index")],
    ),
    Rule(
        words.secrets,
        everything,
        bad=[
            ("x.py", "key = '" + "sk_" + "live_51H8abcdefgh'"),
            ("x.py", "key = '" + "whsec_" + "a" * 32 + "'"),
            ("x.pem", "-----BEGIN " + "RSA PRIVATE KEY-----"),
            ("x.env", "AWS=" + "AKIA" + "ABCDEFGHIJKLMNOP"),
            ("x.md", "postgres://ann:" + "correcthorse" + "@db.example/x"),
        ],
        good=[
            ("x.py", "prefix = 'sk_live_'; url = f'postgres://{user}:{word}@host/x'"),
            ("x.py", "key = 'sk_test_stand_in'"),
        ],
    ),
]


def report(findings: list[Finding]) -> None:
    if findings:
        pytest.fail("\n".join(map(str, findings)), pytrace=False)


by_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


@pytest.mark.needs("git")
@by_rule
def test_the_tree_keeps(rule: Rule) -> None:
    report([finding for file in rule.files() for finding in rule.check(file)])


@by_rule
def test_the_check_finds_each_bad_example(rule: Rule) -> None:
    assert rule.bad
    for path, text in rule.bad:
        findings = list(rule.check(Source(path, text)))
        assert findings, f"{rule.name} overlooks {path}: {text!r}"
        assert str(findings[0]).startswith(f"{path}:{findings[0].line}: ")


@by_rule
def test_the_check_lets_good_examples_pass(rule: Rule) -> None:
    for path, text in rule.good:
        findings = [str(finding) for finding in rule.check(Source(path, text))]
        assert not findings, f"{rule.name} refuses {text!r}: {findings}"


@pytest.mark.needs("git")
def test_relative_links_in_markdown_resolve() -> None:
    report(list(words.links(repository())))


def test_a_broken_link_is_found() -> None:
    page = Source(
        "docs/page.md",
        "[ok](other.md#a-part) [up](../README.md) [folder](../docs) [web](https://example.com/x)\n"
        "```\n[code](nowhere.md)\n```\n"
        "[gone](gone.md) [no part](other.md#b)\n[here](#nowhere)\n[ref]: missing.md\n",
    )
    others = (Source("docs/other.md", "# A part\n"), Source("README.md", ""))
    found = [(f.line, f.advice.split(":")[0]) for f in words.links((page, *others))]
    assert found == [
        (5, "link gone.md"),
        (5, "link other.md#b"),
        (6, "link #nowhere"),
        (7, "link missing.md"),
    ]


@pytest.mark.needs("git")
def test_the_checks_see_the_files_of_this_repository() -> None:
    paths = {source.path for source in repository()}
    assert {"pyproject.toml", "tests/test_tidy.py", "src/strongroom/__init__.py"} <= paths
    assert not any(path.startswith((".venv/", ".strongroom/")) for path in paths)
