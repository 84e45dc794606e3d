"""The Stripe stand-in as a child process, and the official SDK pointed at it."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import stripe

SOURCE = Path(__file__).parents[2] / "src"
SECRET_KEY = "sk_test_standInSecret0123456789"
PUBLISHABLE_KEY = "pk_test_standInPublic0123456789"
KNOB_TOKEN = "knob-token-of-the-tests"
START_SECONDS_MAX = 60
CONTROL_SECONDS_MAX = 60
EXIT_REFUSED = 78


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        return None


class RunningStripe:
    """One server process over one data folder; it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.key_file, self.knob_file = folder / "key", folder / "knob"
        self.key_file.write_text(SECRET_KEY + "\n")
        self.knob_file.write_text(KNOB_TOKEN + "\n")
        self.public_file = folder / "public"
        self.public_file.write_text(PUBLISHABLE_KEY + "\n")
        self.error_file = folder / "stderr"
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def command(self, *more: str) -> list[str]:
        return [
            sys.executable, "-m", "strongroom_sandbox.stripe", "--port", "0",
            "--data", str(self.data), "--secret-key-file", str(self.key_file),
            "--knob-token-file", str(self.knob_file),
            "--publishable-key-file", str(self.public_file), *more,
        ]  # fmt: skip

    def refused(self, *more: str) -> str:
        """Start a second process that must refuse to start; returns what it says."""
        ended = subprocess.run(
            self.command(*more), capture_output=True, text=True, timeout=START_SECONDS_MAX,
            check=False, env=os.environ | {"PYTHONPATH": str(SOURCE)},
        )  # fmt: skip
        assert ended.returncode == EXIT_REFUSED, ended
        assert ended.stdout == ""
        return ended.stderr

    def start(self) -> "RunningStripe":
        with self.error_file.open("a") as errors:
            self.process = subprocess.Popen(
                self.command(), stdout=subprocess.PIPE, stderr=errors, text=True,
                env=os.environ | {"PYTHONPATH": str(SOURCE)},
            )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("ready "):
            self.kill()
            pytest.fail(f"the stand-in did not start: {self.error_file.read_text()}")
        self.url = json.loads(line.removeprefix("ready "))["url"]
        return self

    def kill(self) -> None:
        """SIGKILL, as a crash would; harmless when it is gone already."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(START_SECONDS_MAX)
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.process = None

    def terminate(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(START_SECONDS_MAX)
        self.kill()
        return code

    def client(self, key: str = SECRET_KEY, **options: Any) -> stripe.StripeClient:
        return stripe.StripeClient(key, base_addresses={"api": self.url}, **options)

    def async_client(self, **options: Any) -> stripe.StripeClient:
        options.setdefault("http_client", stripe.AIOHTTPClient(timeout=10))
        return self.client(**options)

    def control(self, method: str, path: str, body: object = None, token: str = KNOB_TOKEN) -> Any:
        """Use a control; returns the JSON answer. Raises HTTPError on 4xx."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"X-Knob-Token": token}, method=method
        )
        with urllib.request.urlopen(request, timeout=CONTROL_SECONDS_MAX) as answer:
            return json.load(answer)

    def knobs(self, *rules: dict[str, Any], **more: Any) -> Any:
        return self.control("PUT", "/_knobs", {"rules": list(rules), **more})

    def charges(self, **query: str) -> list[dict[str, Any]]:
        page = self.control("GET", "/_ledger/charges?" + urlencode({"limit": "10000", **query}))
        found: list[dict[str, Any]] = page["data"]
        return found

    def advance(self, seconds: int) -> None:
        self.control("POST", "/_clock", {"advance_seconds": seconds})

    def raw(
        self, method: str, path: str, data: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a plain HTTP request; returns (status, headers in lower case, body)."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            self.url + path, None if data is None else data.encode(), names, method=method
        )
        try:
            answer = urllib.request.build_opener(NoRedirect).open(
                request, timeout=CONTROL_SECONDS_MAX
            )
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            shown = {name.lower(): value for name, value in answer.headers.items()}
            return answer.status, shown, answer.read()


@pytest.fixture(scope="session")
def shared_stripe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStripe]:
    running = RunningStripe(tmp_path_factory.mktemp("stripe"))
    try:
        yield running.start()
    finally:
        running.kill()


@pytest.fixture
def stand_in(shared_stripe: RunningStripe) -> Iterator[RunningStripe]:
    """A server that other tests use too, without fault rules before and after."""
    try:
        yield shared_stripe
    finally:
        shared_stripe.control("DELETE", "/_knobs")


@pytest.fixture
def own_stripe(tmp_path: Path) -> Iterator[RunningStripe]:
    """A server of the test's own, which it may kill and start again."""
    running = RunningStripe(tmp_path)
    try:
        yield running.start()
    finally:
        running.kill()


@pytest.fixture
def pay() -> Callable[..., dict[str, Any]]:
    """Parameters of a confirmed card payment; more may be given or replaced."""

    def parameters(method: str = "pm_card_visa", **more: Any) -> dict[str, Any]:
        return {
            "amount": 2000,
            "currency": "usd",
            "allowed_payment_method_types": ["card"],
            "payment_method": method,
            "confirm": True,
            **more,
        }

    return parameters
