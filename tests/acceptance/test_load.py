"""`strongroom bench load` against a deployment: what it says is what happened."""

import asyncio
import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path

import asyncpg
import pytest

from tests.acceptance.client import Api
from tests.acceptance.running import COMMAND_SECONDS_MAX, Running, environment, program

KEY_VARIABLE = "STRONGROOM_API_KEY"
COUNT = "SELECT count(*) FROM payments WHERE merchant_reference ~ '^order-[5-9a-k]{18}$'"


def load(
    running: Running, *words: str, key: str | None = None, url: str | None = None
) -> "subprocess.CompletedProcess[str]":
    """Runs it to its end, with the home's own key or another in the environment."""
    return subprocess.run(
        [*program("bench", "load", "--home", str(running.home), "--url", url or running.api_url),
         *words],
        env=environment() | ({} if key is None else {KEY_VARIABLE: key}),
        capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX, check=False,
    )  # fmt: skip


def told(output: str, name: str) -> str:
    """What the summary says under a name."""
    [text] = re.findall(rf"^  {name} +(.*)$", output, re.MULTILINE)
    return str(text)


def number(text: str) -> int:
    return int(text.replace(",", ""))


@pytest.mark.parametrize("form", [(), ("--bulk", "7")], ids=["single", "bulk"])
async def test_what_it_counts_is_what_is_stored(
    form: tuple[str, ...], running: Running, owner: asyncpg.Connection
) -> None:
    before = await owner.fetchval(COUNT)
    done = await asyncio.to_thread(
        load, running, "--seconds", "1.5", "--clients", "8", "--no-instrument", *form
    )
    assert (done.returncode, done.stderr) == (0, "")
    accepted = number(told(done.stdout, "accepted").split()[0])
    assert accepted > 50
    assert await owner.fetchval(COUNT) - before == accepted
    assert number(told(done.stdout, "sent").split()[0]) == accepted
    created = re.fullmatch(r"201: ([\d,]+)", told(done.stdout, "answers"))
    assert created
    assert number(created[1]) == accepted
    assert re.match(
        r"requires_payment_method: \d+   \(of \d+ followed\)", told(done.stdout, "states")
    )
    assert re.match(r"p50 [\d.,]+ ms   p99 [\d.,]+ ms", told(done.stdout, "latency"))
    assert running.api_key not in done.stdout


async def test_it_shows_what_becomes_of_the_payments(running: Running) -> None:
    done = await asyncio.to_thread(
        load, running, "--seconds", "20", "--payments", "60", "--rate", "60", "--clients", "4"
    )
    assert done.returncode == 0, done.stdout
    assert told(done.stdout, "answers") == "202: 60"
    assert re.fullmatch(r"succeeded: (\d+)   \(of \1 followed\)", told(done.stdout, "states"))


async def test_it_keeps_to_rate_and_number(running: Running, owner: asyncpg.Connection) -> None:
    before, began = await owner.fetchval(COUNT), time.monotonic()
    done = await asyncio.to_thread(
        load, running, "--rate", "40", "--bulk", "10", "--payments", "95", "--seconds", "20",
        "--no-instrument",
    )  # fmt: skip
    took = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    assert await owner.fetchval(COUNT) - before == 90  # whole requests only
    assert 90 / 40 - 0.5 < took < 20  # it ended by the number
    lines = [line for line in done.stdout.splitlines() if "/s  p50" in line]
    assert len(lines) >= 2  # a line a second, as it is no terminal
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("words", "key", "url", "said"),
    [
        ((), None, "http://192.0.2.1:1", "not on this machine"),
        (("--i-own-this-deployment",), None, "http://192.0.2.1:1", "use https"),
        ((), "sr_live_key_" + "0" * 26 + "_" + "a" * 43, None, "moves money|move money"),
        ((), "something", None, "no API key"),
        ((), None, "http://127.0.0.1:1", "nobody answers"),
        ((), None, "http://user@127.0.0.1:1", "--url is"),
        ((), None, "ftp://127.0.0.1", "--url is"),
        ((), None, "http://127.0.0.1:99999", "--url is"),
        ((), None, "http://127.0.0.1/v1", "--url is"),
        (("--clients", "0"), None, None, "--clients is from"),
        (("--clients", "5000"), None, None, "--clients is from"),
        (("--seconds", "nan"), None, None, "--seconds is from"),
        (("--seconds", "1e9"), None, None, "--seconds is from"),
        (("--payments", "100000000"), None, None, "--payments is from"),
        (("--bulk", "501"), None, None, "--bulk is from"),
        (("--rate", "0"), None, None, "--rate is from"),
        (("--rate", "inf"), None, None, "--rate is from"),
    ],
)
def test_what_may_do_harm_is_refused_before_the_first_request(
    words: tuple[str, ...], key: str | None, url: str | None, said: str, running: Running
) -> None:
    done = load(running, *words, key=key, url=url)
    assert done.returncode == 1
    assert done.stdout == "" or said == "nobody answers"
    assert re.search(said, done.stderr)
    assert key is None or key not in done.stderr


def test_a_key_is_read_from_a_file_that_is_ones_own(running: Running, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(running.api_key + "\n")
    file.chmod(0o644)
    words = ("--key-file", str(file), "--payments", "1", "--no-instrument")
    assert "can be read by others" in load(running, *words).stderr
    file.chmod(0o600)
    assert load(running, *words).returncode == 0


def test_refusals_are_counted_and_the_end_says_that_nothing_was_accepted(running: Running) -> None:
    stranger = "sr_dev_key_" + "0" * 26 + "_" + "a" * 43
    done = load(running, "--payments", "20", "--clients", "2", "--bulk", "5", key=stranger)
    assert done.returncode == 1
    assert told(done.stdout, "answers") == "401: 20"
    assert told(done.stdout, "accepted").startswith("0 payments")


def test_a_key_that_may_not_read_is_told_apart_from_payments_that_stand_still(
    running: Running,
) -> None:
    words = ("keys", "create", "--entity", running.legal_entity, "--name", "writer")
    writer = running.command(*words, "--scope", "payments:write")
    done = load(running, "--seconds", "1.2", "--rate", "20", "--no-instrument", key=writer)
    assert done.returncode == 0
    assert told(done.stdout, "states") == "not to be seen: a look was answered with 403"


def test_an_interrupt_ends_it_with_a_summary(running: Running) -> None:
    child = subprocess.Popen(
        program("bench", "load", "--home", str(running.home), "--url", running.api_url,
                "--seconds", "60", "--rate", "50", "--no-instrument"),
        env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stdout is not None
        while "p50" not in child.stdout.readline():
            assert child.poll() is None
        child.send_signal(signal.SIGINT)
        output, _ = child.communicate(timeout=COMMAND_SECONDS_MAX)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 0
    assert number(told(output, "accepted").split()[0]) > 0


def test_on_a_terminal_the_table_stays_in_one_place(running: Running) -> None:
    ours, its = pty.openpty()
    try:
        child = subprocess.Popen(
            program("bench", "load", "--home", str(running.home), "--url", running.api_url,
                    "--seconds", "3.5", "--rate", "50", "--no-instrument"),
            env=environment() | {"TERM": "xterm"}, stdout=its, stderr=its, stdin=its,
        )  # fmt: skip
        shown = _read_until_end(ours, child)
    finally:
        os.close(ours)
        os.close(its)
    assert child.returncode == 0, shown
    tables = shown.split("\x1b[7F\x1b[J")
    assert len(tables) >= 3  # each begins where the one before began
    for one in tables[:-1]:
        assert one.count("\r\n") == 7
        assert all(name in one for name in ("payments", "latency", "answers", "states"))
    assert "accepted" in tables[-1]


def _read_until_end(terminal: int, child: "subprocess.Popen[bytes]") -> str:
    shown, deadline = b"", time.monotonic() + COMMAND_SECONDS_MAX
    try:
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.1)[0]:
                shown += os.read(terminal, 65536)
            elif child.poll() is not None:
                break
    finally:
        child.kill()
        child.wait()
    return shown.decode()


async def test_payments_of_a_load_are_like_any_others(api: Api, running: Running) -> None:
    await asyncio.to_thread(load, running, "--payments", "3", "--bulk", "3")
    page = (await api.get("/v1/payments", limit=3)).json["data"]
    assert {payment["description"] for payment in page} == {"Two tickets, row 7"}
    await api.all_settled([payment["id"] for payment in page])
