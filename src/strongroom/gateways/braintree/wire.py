"""How the SDK reaches Braintree: its own place for another way to send (`http_strategy`), used.

The SDK's way keeps a connection for each thread, follows redirects, and takes its proxy from the
environment. Here connections are shared, nothing is followed, nothing is sent twice, the
environment has no say, and an answer has an end.
"""

import threading
import time
from typing import Any, Final

import requests
from braintree.configuration import Configuration
from braintree.environment import Environment
from braintree.util.http import Http
from requests.adapters import HTTPAdapter

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 60.0
"""Longer than any deadline of ours: an answer that comes late is still worth hearing."""
ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024


class AnswerTooLong(Exception):
    """More than an answer can be; it is not read."""


class Wire(Http):  # type: ignore[misc] # the SDK has no types
    """One account's connections; any thread may send."""

    def __init__(self, config: Configuration, environment: Environment, connections: int) -> None:
        super().__init__(config, environment)
        self._session = requests.Session()
        self._session.trust_env = False
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=connections, max_retries=0)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        self._said = threading.local()

    @property
    def said(self) -> tuple[int | None, str | None]:
        """Status and request id of what this thread heard last, since `forget`."""
        return getattr(self._said, "last", (None, None))

    def forget(self) -> None:
        """Nothing was heard yet in this thread."""
        self._said.last = (None, None)

    def http_do(
        self, http_verb: str, path: str, headers: dict[str, Any], request_body: Any
    ) -> list[Any]:
        """Sends once; status and text. Raises what requests raises, and AnswerTooLong."""
        prepared = requests.Request(http_verb, path, headers=headers, data=request_body).prepare()
        prepared.url = path  # as the SDK does: its paths are encoded already
        with self._session.send(
            prepared,
            verify=self.environment.ssl_certificate or True,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
            allow_redirects=False,
            stream=True,
        ) as response:
            self._said.last = (response.status_code, response.headers.get("x-request-id"))
            return [response.status_code, _text_of(response)]

    def close(self) -> None:
        """Lets go of connections."""
        self._session.close()


def _text_of(response: requests.Response) -> str:
    ends, content = time.monotonic() + READ_SECONDS, bytearray()
    for chunk in response.iter_content(_CHUNK_BYTES):
        content += chunk
        if len(content) > ANSWER_BYTES_MAX or time.monotonic() > ends:
            raise AnswerTooLong
    return content.decode("utf-8")
