"""`strongroom secrets`: entered at a prompt or from a file, and never shown."""

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest

from strongroom.config import Settings
from strongroom.database import SEARCH_PATH
from strongroom.ids import to_text
from strongroom.setup import ensure_entity_keys
from tests.integration.conftest import Deployment
from tests.integration.entering import slot_of

SOURCE = Path(__file__).parents[2] / "src"
SECONDS_MAX = 30
KIND = "stripe_api_key"
FIRST, SECOND = "sk_test_first0123456789", "rk_test_second0123456789"
LIVE = FIRST.replace("_test_", "_live_")
HOOK = "whsec_0123456789abcdef"


class Said(NamedTuple):
    code: int
    out: str
    err: str


class Operator:
    """Who runs commands for one account; nothing that they enter may come back."""

    def __init__(self, home: Path, account: str, folder: Path) -> None:
        self.home, self.account, self._folder = home, account, folder

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "strongroom", "secrets", *words, "--home", str(self.home)]

    async def run(self, *words: str) -> Said:
        done = await asyncio.to_thread(
            subprocess.run,
            self.command(*words), capture_output=True, text=True, timeout=SECONDS_MAX, check=False,
            stdin=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(SOURCE)},
        )  # fmt: skip
        return Said(done.returncode, done.stdout, done.stderr)

    async def enter(self, what: str, secret: str, kind: str = KIND, mode: int = 0o600) -> Said:
        file = self._folder / "entered"
        file.unlink(missing_ok=True)
        file.touch(mode=mode)
        file.write_text(secret + "\n")
        said = await self.run(what, self.account, kind, "--file", str(file))
        assert secret not in said.out + said.err
        return said

    async def type(self, what: str, secret: str) -> tuple[int, str]:
        """At a terminal; returns the exit code and all that the terminal showed."""
        return await asyncio.to_thread(self._type, what, secret)

    def _type(self, what: str, secret: str) -> tuple[int, str]:
        command = self.command(what, self.account, KIND)
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(command[0], command, os.environ | {"PYTHONPATH": str(SOURCE)})
        shown = b""
        while True:
            try:
                part = os.read(terminal, 4096)
            except OSError:  # EIO: the other end is closed
                break
            if not part:
                break
            shown += part
            if shown.endswith(b"stripe_api_key: "):
                os.write(terminal, secret.encode() + b"\n")
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
        return os.waitstatus_to_exitcode(status), shown.decode()


@pytest.fixture
async def owner(deployment: Deployment) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(
        deployment.owner_url, server_settings={"search_path": SEARCH_PATH}
    )
    yield connection
    await connection.close()


@pytest.fixture
async def operator(deployment: Deployment, owner: asyncpg.Connection, tmp_path: Path) -> Operator:
    deployment.home.write_settings(Settings(mode="dev"))
    await ensure_entity_keys(deployment.home)
    slot = await slot_of(owner, deployment.ours.legal_entity_id)
    return Operator(deployment.home.path, to_text("gwa", slot.owner_id), tmp_path)


async def test_a_secret_goes_through_its_life_and_is_never_shown(operator: Operator) -> None:
    code, shown = await operator.type("set", FIRST)
    assert code == 0, shown
    assert FIRST not in shown
    assert "version 1 of stripe_api_key is in the vault; rotate it by 20" in shown
    said = await operator.enter("rotate", SECOND)
    assert said.code == 0, said.err
    assert f"delete {operator._folder}/entered" in said.out
    listed = (await operator.run("list")).out.splitlines()
    assert [line.split("  ")[:3] for line in listed] == [
        [operator.account, KIND, "version 1"], [operator.account, KIND, "version 2"],
    ]  # fmt: skip
    assert [line.split("  ")[-1] for line in listed] == ["in use, to be retired", "in use"]
    assert (await operator.run("retire", operator.account, KIND)).out.startswith("version 1 of")
    listed = (await operator.run("list")).out.splitlines()
    assert "  retired 20" in listed[0]
    assert listed[1].endswith("  in use")


async def test_what_is_due_is_marked_and_said_by_the_exit_code(
    operator: Operator, owner: asyncpg.Connection
) -> None:
    await operator.enter("set", FIRST)
    assert await operator.run("list", "--due") == Said(0, "", "")
    for days, mark in ((13, "due in 12 days"), (-3, "overdue by 4 days")):
        await owner.execute(
            "UPDATE secrets SET rotate_by = now() + make_interval(days => $1, mins => -5)", days
        )
        said = await operator.run("list", "--due")
        assert said.code == 1
        assert said.out.endswith(f"  in use  {mark}\n")
        [line] = json.loads((await operator.run("list", "--json")).out)
        assert line["due_in_days"] == int(mark.split()[2]) * (-1 if "over" in mark else 1)
    await operator.enter("rotate", SECOND)  # the older one is to be retired, not rotated
    assert (await operator.run("list", "--due")).code == 0


@pytest.mark.parametrize(
    ("secret", "kind", "said"),
    [
        (LIVE, KIND, "this is a live key, and the account is a stand_in"),
        ("pk_test_0123456789ab", KIND, "has to look like sk_test_…"),
        ("sk_test_a b", KIND, "has to look like"),
        ("sk_test_" + "a" * 600, KIND, "has to look like"),
        (HOOK, KIND, "has to look like"),
        (FIRST, "stripe_webhook_secret", "has to look like whsec_…"),
        (FIRST, "braintree_webhook_key", "is made of braintree_keys: enter those"),
        (FIRST, "bank_token", "there is no such kind of secret; kinds are: stripe_api_key"),
    ],
)
async def test_what_cannot_be_right_is_refused(
    operator: Operator, owner: asyncpg.Connection, secret: str, kind: str, said: str
) -> None:
    answer = await operator.enter("set", secret, kind)
    assert answer.code == 1
    assert said in answer.err
    assert await owner.fetchval("SELECT count(*) FROM secrets") == 0


async def test_a_key_for_tests_is_refused_where_cards_are_real(
    operator: Operator, owner: asyncpg.Connection
) -> None:
    await owner.execute("UPDATE gateway_accounts SET environment = 'live'")
    answer = await operator.enter("set", FIRST)
    assert (answer.code, answer.err) == (
        1, "strongroom: this is a key for tests, and the account is live.\n",
    )  # fmt: skip
    assert (await operator.enter("set", LIVE)).code == 0
    assert (await operator.enter("set", HOOK, "stripe_webhook_secret")).code == 0


async def test_ways_in_that_others_could_watch_are_refused(
    operator: Operator, owner: asyncpg.Connection
) -> None:
    readable = await operator.enter("set", FIRST, mode=0o640)
    assert readable.code == 1
    assert "can be read by others" in readable.err
    argued = await operator.run("set", operator.account, KIND, FIRST)
    assert argued.code == 1
    assert "a secret is never an argument" in argued.err
    assert FIRST not in argued.err
    nobody = await operator.run("set", operator.account, KIND)
    assert nobody.code == 1
    assert "give a file by --file" in nobody.err
    assert await owner.fetchval("SELECT count(*) FROM secrets") == 0


async def test_an_account_that_is_not_there_is_refused(operator: Operator) -> None:
    for account in ("gwa_01m8hw72v0ehs92ttjzfmdqz7c", operator.account.replace("gwa", "pay"), "x"):
        operator.account = account
        assert (await operator.enter("set", FIRST)).code == 1


async def test_the_last_one_goes_by_force_alone(operator: Operator) -> None:
    await operator.enter("set", FIRST)
    said = await operator.run("retire", operator.account, KIND)
    assert said.code == 1
    assert "it is the only one" in said.err
    assert (await operator.run("retire", operator.account, KIND, "--force")).code == 0


async def test_without_the_kms_nothing_is_entered(operator: Operator) -> None:
    (operator.home / "secrets" / "kms_root").unlink()
    said = await operator.enter("set", FIRST)
    assert said.code == 1
    assert said.err.startswith("strongroom: ")
    assert "Traceback" not in said.err
