"""Logs say what is on the allow-list, and nothing else."""

import ast
import io
import json
import logging
import re
import subprocess
import sys
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from strongroom.errors import described
from strongroom.telemetry import logs
from strongroom.telemetry.request_ids import CURRENT
from strongroom.vault.cards import BLOT, holds_card_number
from strongroom.vault.secret import Secret
from tests.unit.disguises import DISGUISES, Draw, beside, card_number

CANARY = "canary-7b1f"
CARD = "4242424242424242"
SOURCE = Path(__file__).parents[2] / "src" / "strongroom"

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Everything that was logged, as a process logs it."""
    stream = io.StringIO()
    before, root = structlog.get_config(), logging.getLogger()
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    handlers, level = root.handlers[:], root.level
    logs.set_up_logs(stream)
    logs._log = structlog.get_logger()  # it keeps the stream that it wrote to first
    try:
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    finally:
        structlog.configure(**before)
        logging.captureWarnings(capture=False)
        sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
        root.handlers[:] = handlers
        root.setLevel(level)


def one(lines: Lines) -> dict[str, Any]:
    (line,) = lines()
    return line


def log() -> Any:
    return structlog.get_logger()


def test_a_key_that_is_not_on_the_list_is_left_out_and_counted(lines):
    before = logs.TALLY.keys_dropped
    log().info("batch_written", items=3, body=CANARY, headers={"a": CANARY}, **{CANARY: 1})
    line = one(lines)
    assert CANARY not in json.dumps(line)
    assert (line["event"], line["items"], line["keys_dropped"]) == ("batch_written", 3, 3)
    assert logs.TALLY.keys_dropped == before + 3


def test_an_exception_is_told_by_type_and_place_never_by_its_message(lines):
    def fail() -> None:
        raise ValueError(f"Failing row contains ({CANARY})")

    try:
        fail()
    except ValueError as error:
        log().exception("operation_failed")
        log().error("operation_failed", exc_info=error)
        log().error("operation_failed", **described(error))
    assert CANARY not in json.dumps(lines())
    for line in lines():
        assert line["error"] == "ValueError"
        assert line["where"][0].startswith("test_logs.py:")


def test_a_message_that_was_put_together_is_not_an_event(lines):
    log().warning(f"refused {CANARY}")
    log().warning("refused %s", CANARY)
    log().warning(CANARY.upper())
    assert [line["event"] for line in lines()] == ["unnamed"] * 3
    assert CANARY not in json.dumps(lines()).lower()


@pytest.mark.parametrize(
    "text",
    [
        CARD, "4242 4242 4242 4242", "4242-4242-4242-4242", "4242.4242.4242.4242",
        "4242 - 4242 - 4242 - 4242", f"card {CARD}!", f"{CARD}{CARD}", "٤٢٤٢٤٢٤٢٤٢٤٢٤٢٤٢",
        "378282246310005", "4222222222222", 4242424242424242, 4242424242424242.0, [CARD], (1, CARD),
        "x" * 190 + CARD, ("4 _ " * 3 + "4_2_4_2_4_2_4_2_4_2_4_2_4_2_") * 90, CARD * 500,
    ],
)  # fmt: skip
def test_what_looks_like_a_card_number_is_blotted_out(lines, text):
    log().info("batch_written", reason=text)
    told = json.dumps(one(lines)["reason"], ensure_ascii=False)
    assert not re.search(r"\d(\D{0,3}\d){12}", told)
    assert BLOT in told or "xxx" in told


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_disguised_card_number_is_in_no_value_key_or_event(lines, disguise):
    draw = Draw(disguise)
    for _ in range(50):
        text = DISGUISES[disguise](card_number(draw), draw)
        log().info(f"paid_with_{text}", reason=beside(text, draw), where=[text], **{text: 1})
        log().info("batch_written", level=text, logger=("x", text))
    for line in lines():
        assert not holds_card_number(json.dumps(line).encode())
        assert BLOT in str(line)
        assert line["event"] in ("unnamed", "batch_written")


def test_a_card_number_cannot_be_an_event(lines):
    log().info(f"card_{CARD}")
    log().info("card_4242_4242_4242_4242")
    assert [line["event"] for line in lines()] == ["unnamed"] * 2
    assert not any(CARD in event for event, _ in logs.TALLY.lines)


@pytest.mark.parametrize("value", [Secret(CANARY), [Secret(CANARY)], ("a", Secret(CANARY))])
def test_a_secret_is_left_out_and_counted(lines, value):
    before = logs.TALLY.keys_dropped
    log().warning("claim_failed", reason=value, error="OSError")
    line = one(lines)
    assert "reason" not in line
    assert "secret" not in json.dumps(line).lower()
    assert CANARY not in json.dumps(line)
    assert (line["error"], line["keys_dropped"]) == ("OSError", 1)
    assert logs.TALLY.keys_dropped == before + 1


def test_values_are_short_and_flat(lines):
    log().info(
        "batch_written", where=["a" * 500] * 500, reason="b" * 5000, error={"a": CANARY},
        mode=CANARY.encode(), host=ValueError(CANARY), logger=[[CANARY]], gateway=object(),
    )  # fmt: skip
    line = one(lines)
    assert CANARY not in json.dumps(line)
    assert line["where"] == ["a" * logs.TEXT_CHARACTERS_MAX] * logs.LIST_ITEMS_MAX
    assert line["reason"] == "b" * logs.TEXT_CHARACTERS_MAX
    assert line["error"] == "[dict]"
    assert line["host"] == "[ValueError]"
    assert line["logger"] == ["[list]"]


def test_an_id_is_told_whole_whatever_its_digits(lines):
    identifier = uuid.UUID("01937123-1234-7123-8123-123412341234")
    log().error("set_aside", ids=[identifier])
    assert one(lines)["ids"] == [str(identifier)]


def test_a_control_character_cannot_make_a_second_line(lines):
    log().info("batch_written", reason='a\n{"event": "forged"}\r\x1b[2J')
    assert one(lines)["event"] == "batch_written"


def test_lines_of_libraries_say_where_and_not_what(lines):
    logging.getLogger("asyncpg").error("row %s", CANARY, exc_info=ValueError(CANARY))
    warnings.warn(CANARY, stacklevel=1)
    assert CANARY not in json.dumps(lines())
    assert {(line["event"], line["logger"]) for line in lines()} == {
        ("library_log", "asyncpg"), ("library_log", "py.warnings"),
    }  # fmt: skip


CRASHES = {
    "process_failed": "fail()",
    "thread_failed": "import threading; threading.Thread(target=fail).start()",
    "error_unraisable": "class A:\n  def __del__(self): fail()\nA()",
}


@pytest.mark.parametrize("event", CRASHES)
def test_a_crash_is_told_without_its_words(event):
    code = (
        "from strongroom.telemetry.logs import set_up_logs\nset_up_logs()\n"
        f"def fail(): raise ValueError('{CANARY}')\n{CRASHES[event]}"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert ended.returncode == (event == "process_failed")
    line = json.loads(ended.stderr)
    assert (line["event"], line["error"]) == (event, "ValueError")
    assert CANARY.encode() not in ended.stderr


def test_a_line_names_the_request_that_it_belongs_to(lines):
    token = CURRENT.set(b"req_1")
    try:
        log().warning("database_out_of_reach", request_id="another")
    finally:
        CURRENT.reset(token)
    log().warning("database_out_of_reach")
    first, second = lines()
    assert first["request_id"] == "req_1"
    assert "request_id" not in second


def test_every_line_is_counted_by_event_and_level(lines):
    before = logs.TALLY.lines["claim_failed", "warning"]
    log().warning("claim_failed", error="OSError")
    log().debug("claim_failed", error="OSError")
    assert logs.TALLY.lines["claim_failed", "warning"] == before + 1
    assert len(lines()) == 1


def test_the_events_that_are_counted_are_bounded():
    tally = logs.Tally()
    for number in range(1000):
        tally.count(f"event_{number}", "info", 0)
    assert len(tally.lines) <= logs.EVENTS_COUNTED_MAX + 1
    assert sum(tally.lines.values()) == 1000


def calls_of_logs() -> Iterator[tuple[str, ast.Call]]:
    """Every call of a method of a module's `log`."""
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in {"log", "_log"}
            ):
                yield f"{file.name}:{node.lineno}", node


def test_no_line_of_the_product_would_lose_a_key_or_its_event():
    known = logs.KEYS | {"exc_info"}
    found = list(calls_of_logs())
    assert len(found) > 20
    for where, call in found:
        keywords = {word.arg for word in call.keywords if word.arg is not None}
        assert keywords <= known, f"{where}: {keywords - known} is not on the allow-list"
        event = call.args[-1]
        value = event.value if isinstance(event, ast.Constant) else None
        assert isinstance(value, str), f"{where}: the event has to be a constant"
        assert logs._EVENT.fullmatch(value), where
