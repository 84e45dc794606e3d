"""The client that the page on idempotency shows, against servers that fail in each way."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.docs.pages import pages

Step = bytes | None
"""What is answered to one request; None closes the connection without a word."""

MADE = b'HTTP/1.1 201 Created\r\nContent-Length: 23\r\n\r\n{"status": "succeeded"}'
HALF = b'HTTP/1.1 201 Created\r\nContent-Length: 23\r\n\r\n{"status": "succ'
NONSENSE = b"this is no HTTP\r\n\r\n"
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\n<>"
LATER = b"HTTP/1.1 503 Unavailable\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}"
REFUSED = b"HTTP/1.1 422 Unprocessable\r\nContent-Length: 2\r\n\r\n{}"


def shown_client(pauses: list[float]) -> dict[str, Any]:
    """The names that the page's block defines, its order left out; pauses take no time."""
    [page] = [page for page in pages() if page.path == "docs/idempotency.md"]
    [block] = [block for block in page.blocks if block.language == "python"]
    names: dict[str, Any] = {}
    exec(block.text.partition("\norder = ")[0], names)
    names["time"] = SimpleNamespace(sleep=pauses.append)
    return names


@contextmanager
def answering(steps: list[Step]) -> Iterator[tuple[str, list[str | None]]]:
    """A server that takes these steps; its URL, and the keys that it was sent."""
    keys: list[str | None] = []

    class Scripted(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            keys.append(self.headers["Idempotency-Key"])
            self.rfile.read(int(self.headers["Content-Length"]))
            if step := steps.pop(0):
                self.wfile.write(step)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Scripted) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", keys
        finally:
            server.shutdown()
            thread.join()


def test_it_repeats_one_key_until_there_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    with answering([None, HALF, NONSENSE, BAD_GATEWAY, LATER, MADE]) as (url, keys):
        monkeypatch.setenv("STRONGROOM_URL", url)
        monkeypatch.setenv("STRONGROOM_KEY", "a-key")
        answer = shown_client(pauses)["post"]("/v1/payments", "order-1", {"amount": 1})
    assert answer == {"status": "succeeded"}
    assert keys == ["order-1"] * 6
    assert pauses == [1, 2, 4, 8, 16], "never below Retry-After, and longer each time"


def test_it_waits_as_long_as_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    with answering([LATER, MADE]) as (url, _):
        monkeypatch.setenv("STRONGROOM_URL", url)
        monkeypatch.setenv("STRONGROOM_KEY", "a-key")
        shown_client(pauses)["post"]("/v1/payments", "order-1", {"amount": 1})
    assert pauses == [7]


def test_it_does_not_repeat_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    with answering([REFUSED]) as (url, keys):
        monkeypatch.setenv("STRONGROOM_URL", url)
        monkeypatch.setenv("STRONGROOM_KEY", "a-key")
        with pytest.raises(HTTPError, match="422"):
            shown_client(pauses)["post"]("/v1/payments", "order-1", {"amount": 1})
    assert (len(keys), pauses) == (1, [])


def test_it_gives_up_and_says_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRONGROOM_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("STRONGROOM_KEY", "a-key")
    with pytest.raises(TimeoutError, match="order-1"):
        shown_client([])["post"]("/v1/payments", "order-1", {"amount": 1}, tries=3)
