"""Servers that speak the protocol of AWS KMS: moto's, and one before it that answers as AWS does.

moto lets a disabled key decrypt, and gives its own answers where AWS gives others. The front puts
that right, keeps count of what it was asked, and fails in the ways of `KmsFront`'s knobs.
"""

import base64
import json
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from strongroom.local.ports import LOOPBACK
from strongroom.local.process import child_environment, spawn

REGION: Final = "eu-central-1"
START_SECONDS_MAX: Final = 60
STOP_SECONDS_MAX: Final = 30
FORWARD_SECONDS_MAX: Final = 60
HANG_SECONDS_MAX: Final = 60
PREFIX: Final = "TrentService."
MOTO_KEY_ID_BYTES: Final = 36
"""moto's blobs begin with the id of their key."""
RESET: Final = struct.pack("ii", 1, 0)
SIGNED: Final = (
    f"AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/kms/aws4_request, SignedHeaders=host, "
    "Signature=0"
)
_RUNNING: Final = re.compile(rb"Running on http://127\.0\.0\.1:(\d+)")


@contextmanager
def moto_server(folder: Path) -> Iterator[int]:
    """A moto server as a child process; gives its port."""
    log = folder / "moto.log"
    with log.open("wb") as output:
        child = spawn(
            [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", "0"],
            env=child_environment(),
            output=output.fileno(),
            cwd=folder,
        )
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while (found := _RUNNING.search(log.read_bytes())) is None:
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"moto did not start:\n{log.read_text()}")
            time.sleep(0.05)
        yield int(found.group(1))
    finally:
        child.terminate()
        try:
            child.wait(STOP_SECONDS_MAX)
        finally:
            child.kill()


class Asked(Struct, frozen=True):
    """One request as the front saw it, without the key that it carried."""

    operation: str
    key_id: str | None
    context: dict[str, str]


class KmsFront:
    """The server before moto. Its attributes are knobs, to be turned at any time."""

    def __init__(self, moto_port: int) -> None:
        self.moto_port = moto_port
        self.asked: list[Asked] = []
        self.delay_seconds = 0.0
        self.hang = False
        self.cuts = 0
        """How many of the next requests are cut off instead of answered."""
        self.error: tuple[int, str] | None = None
        """Status and code; the message repeats all that was sent, credentials and key."""
        self.malformed: bytes | None = None
        """Sent with status 200 instead of an answer."""
        self._released = threading.Event()
        self._server = _Server((LOOPBACK, 0), _Exchange)
        self._server.front = self
        self.url = f"http://{LOOPBACK}:{self._server.server_port}"

    def make_key(self) -> str:
        """A new key; gives its ARN."""
        arn: str = self.moto("CreateKey")["KeyMetadata"]["Arn"]
        return arn

    def moto(self, operation: str, **parameters: object) -> dict[str, Any]:
        """Asks moto itself, as an administrator would."""
        headers = {
            "X-Amz-Target": PREFIX + operation,
            "Content-Type": "application/x-amz-json-1.1",
            "Authorization": SIGNED,
        }
        status, content = self.forward(headers, json.dumps(parameters).encode())
        if status != 200:
            raise LookupError(f"{operation}: {status}")
        return json.loads(content) or {}

    def disable(self, arn: str) -> None:
        """Nothing is encrypted or decrypted under it until `enable`."""
        self.moto("DisableKey", KeyId=arn.rpartition("/")[2])

    def enable(self, arn: str) -> None:
        """Undoes `disable`."""
        self.moto("EnableKey", KeyId=arn.rpartition("/")[2])

    def schedule_deletion(self, arn: str) -> None:
        """It is pending deletion from now on."""
        self.moto("ScheduleKeyDeletion", KeyId=arn.rpartition("/")[2], PendingWindowInDays=7)

    def calls(self, operation: str) -> int:
        """How many requests of this kind came."""
        return sum(asked.operation == operation for asked in self.asked)

    def mend(self) -> None:
        """Turns all knobs back, and lets go of what hangs."""
        self.delay_seconds, self.hang, self.cuts = 0.0, False, 0
        self.error = self.malformed = None
        self._released.set()
        self._released = threading.Event()

    def start(self) -> None:
        """Serves in threads, whatever the test's own loop does."""
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Stops, and lets go of what hangs."""
        self._server.shutdown()
        self.mend()
        self._server.server_close()

    def wait(self) -> None:
        """Until the knobs let an answer go."""
        if self.delay_seconds:
            time.sleep(self.delay_seconds)
        if self.hang:
            self._released.wait(HANG_SECONDS_MAX)

    def forward(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Status and content of what moto answers."""
        connection = HTTPConnection(LOOPBACK, self.moto_port, timeout=FORWARD_SECONDS_MAX)
        try:
            connection.request("POST", "/", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def answer(self, operation: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """What AWS would say: moto's answer, unless the key is not to be used."""
        parameters = json.loads(body)
        key_id = parameters.get("KeyId")
        if operation in ("Encrypt", "Decrypt") and key_id is not None:
            state = self._state_of(key_id)
            if state == "Disabled":
                return _error(400, "DisabledException", f"{key_id} is disabled.")
            if state not in (None, "Enabled"):
                return _error(400, "KMSInvalidStateException", f"{key_id} is {state}.")
        if operation == "Decrypt":
            blob = base64.b64decode(parameters.get("CiphertextBlob", ""))
            of_blob = blob[:MOTO_KEY_ID_BYTES].decode("ascii", "replace")
            if self._state_of(of_blob) is None:
                return _error(400, "InvalidCiphertextException", "")
            if key_id is not None and not key_id.endswith(of_blob):
                return _error(400, "IncorrectKeyException", "The key ID in the request differs.")
        return self.forward(headers, body)

    def _state_of(self, key_id: str) -> str | None:
        try:
            state: str = self.moto("DescribeKey", KeyId=key_id)["KeyMetadata"]["KeyState"]
        except LookupError:
            return None
        return state


def _error(status: int, code: str, message: str) -> tuple[int, bytes]:
    return status, json.dumps({"__type": code, "message": message}).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    front: KmsFront

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that went away is none of our business; anything else would fail its test."""


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one piece: two wait 40 ms for each other
    server: _Server

    def do_POST(self) -> None:
        front = self.server.front
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        operation = self.headers.get("X-Amz-Target", "").removeprefix(PREFIX)
        parameters = json.loads(body)
        front.asked.append(
            Asked(operation, parameters.get("KeyId"), parameters.get("EncryptionContext", {}))
        )
        front.wait()
        if front.cuts > 0:
            front.cuts -= 1
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.connection.close()
            self.close_connection = True
            return
        if front.error is not None:
            status, code = front.error
            sent = f"{dict(self.headers)} {body.decode()} {_plain(parameters)}"
            self._send(*_error(status, code, sent), code)
        elif front.malformed is not None:
            self._send(200, front.malformed)
        else:
            headers = {
                name: value
                for name, value in self.headers.items()
                if name.lower() in ("x-amz-target", "content-type", "authorization", "x-amz-date")
            }
            self._send(*front.answer(operation, headers, body))

    def _send(self, status: int, content: bytes, code: str | None = None) -> None:
        if status != 200 and code is None:
            with suppress(ValueError, TypeError):
                code = json.loads(content).get("__type")
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(content)))
        if code is not None:
            self.send_header("x-amzn-ErrorType", code)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


def _plain(parameters: dict[str, Any]) -> str:
    """The key that was to be wrapped, in the clear, as a careless message might have it."""
    return base64.b64decode(parameters.get("Plaintext", "")).decode("latin-1")


@contextmanager
def kms_front(moto_port: int) -> Iterator[KmsFront]:
    """A front that serves until the block ends."""
    front = KmsFront(moto_port)
    front.start()
    try:
        yield front
    finally:
        front.stop()
