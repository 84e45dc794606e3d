"""What live mode does not start with, and who counts as a witness elsewhere."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from strongroom.config import (
    WINDOW_SECONDS_MAX,
    WINDOW_SECONDS_MIN,
    ConfigurationError,
    Home,
    Settings,
    WitnessAt,
    is_on_this_machine,
)
from strongroom.log.cosignatures import CosigningKey
from strongroom.process import refuse_unsafe

KEYS = [CosigningKey.new(f"witness.example/w{number}").verifier.text() for number in range(3)]
HERE = (
    "http://127.0.0.1:8085",
    "http://localhost:8085",
    "http://[::1]:8085",
    "https://127.0.0.1",
    "https://127.1",
    "https://127.44.3.2:443/path",
    "https://0x7f.1",
    "https://0x7f000001",
    "https://2130706433",
    "https://017700000001",
    "https://0.0.0.0",
    "https://[::]",
    "https://[::ffff:127.0.0.1]",
    "https://[::ffff:7f00:1]",
    "https://[0:0:0:0:0:0:0:1]",
    "https://LOCALHOST",
    "https://localhost.",
    "https://witness.localhost",
    f"https://{socket.gethostname()}",
)
ELSEWHERE = (
    "https://witness.example.org",
    "https://192.0.2.7",
    "https://[2001:db8::7]",
    "https://localhost.example.org",
    "https://127.0.0.1.example.org",
)


def live(*urls: str, **others: Any) -> Settings:
    witnesses = tuple(WitnessAt(url=url, key=key) for url, key in zip(urls, KEYS, strict=False))
    return Settings(mode="live", witnesses=witnesses, **others)


@pytest.mark.parametrize("url", HERE)
def test_a_witness_on_this_machine_is_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert is_on_this_machine(url)
    with pytest.raises(ConfigurationError, match="no witness elsewhere"):
        refuse_unsafe(live(url), moves_money=True)
    refuse_unsafe(live(url, "https://witness.example.org"), moves_money=True)


@pytest.mark.parametrize("url", ELSEWHERE)
def test_one_elsewhere_will_do(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert not is_on_this_machine(url)
    settings = live(HERE[0], url)
    assert [one.url for one in settings.witnesses_elsewhere] == [url]
    refuse_unsafe(settings, moves_money=True)


def test_every_reason_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ConfigurationError) as refusal:
        refuse_unsafe(live(), moves_money=True)
    assert "as root" in str(refusal.value)
    assert "no witness elsewhere" in str(refusal.value)
    with pytest.raises(ConfigurationError) as refusal:
        refuse_unsafe(live(), moves_money=False)
    assert "witness" not in str(refusal.value), "worker and signer go on without one"
    refuse_unsafe(Settings(), moves_money=True)


@pytest.mark.parametrize("command", ["api", "checkout"])
def test_a_process_that_takes_money_in_does_not_start(command: str, tmp_path: Path) -> None:
    Home(tmp_path).write_settings(Settings(mode="live"))
    done = subprocess.run(
        [sys.executable, "-m", "strongroom", command, "--home", str(tmp_path), "--port", "1"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no witness elsewhere" in done.stderr
    assert "docs/log.md" in done.stderr


@pytest.mark.parametrize("seconds", [WINDOW_SECONDS_MIN - 1, 0, -1, WINDOW_SECONDS_MAX + 1])
def test_the_limit_has_bounds(seconds: int) -> None:
    with pytest.raises(ValueError, match="log_window_seconds must be"):
        live("https://witness.example.org", log_window_seconds=seconds)


def test_dev_mode_may_try_it_with_less_but_not_without_a_witness() -> None:
    at = WitnessAt(url=HERE[0], key=KEYS[0])
    made = Settings(witnesses=(at,), log_window_in_dev=True, log_window_seconds=1)
    assert made.log_window_seconds == 1
    with pytest.raises(ValueError, match="needs one of the witnesses"):
        Settings(log_window_in_dev=True)
