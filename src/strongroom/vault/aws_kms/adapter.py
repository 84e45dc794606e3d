"""AWS KMS: the root key of production.

    wrapped = format (1 byte) | digest of the root key's ARN (8) | CiphertextBlob of AWS

The SDK blocks, so that its calls run in threads. Where it asks is a constant.
"""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from strongroom.clock import monotonic_seconds
from strongroom.config import AWS_KEY_ARN
from strongroom.vault.aws_kms.client import load_sdk, make_client
from strongroom.vault.aws_kms.refusals import refusal_of
from strongroom.vault.breaker import Breaker
from strongroom.vault.context import check_fit
from strongroom.vault.errors import KmsRefused, KmsUnavailable, KmsWrongInput, VaultError
from strongroom.vault.kms import KMS_SECONDS_MAX
from strongroom.vault.lanes import Lanes, LanesFull
from strongroom.vault.secret import Secret

DOMAINS: Final = {
    "aws": "amazonaws.com",
    "aws-cn": "amazonaws.com.cn",
    "aws-us-gov": "amazonaws.com",
}
"""By partition. Source: AWS General Reference, service endpoints of AWS KMS."""
WRAPPED_FORMAT: Final = b"\x02"
FINGERPRINT_BYTES: Final = 8
HEADER_BYTES: Final = len(WRAPPED_FORMAT) + FINGERPRINT_BYTES
BLOB_BYTES_MAX: Final = 6144
"""What Decrypt takes. Source: AWS KMS API reference."""


class AwsKms:
    """The Kms of one AWS KMS key, and of former ones that only unwrap.

    ARNs are of keys, not of aliases. `endpoint_url` is for tests, `now` for the breaker's. Raises
    ValueError for what is no such ARN.
    """

    def __init__(
        self,
        key_arn: str,
        *,
        former: Sequence[str] = (),
        endpoint_url: str | None = None,
        now: Callable[[], float] = monotonic_seconds,
    ) -> None:
        self._key_arn: Final = key_arn
        self._by_header: Final = {_header(arn): arn for arn in (key_arn, *former)}
        self._region, host = _place(key_arn)
        if any(_place(arn)[0] != self._region for arn in former):
            raise ValueError("former root keys must be in the region of the present one")
        self._endpoint_url: Final = endpoint_url or f"https://{host}"
        self._breaker: Final = Breaker(now)
        self._lanes: Final = Lanes()
        self._client: Any = None
        self._making: Final = threading.Lock()
        load_sdk()  # now, rather than within the deadline of the first call

    @property
    def root_key(self) -> str:
        """Its ARN."""
        return self._key_arn

    async def wrap(self, key: Secret, context: Mapping[str, str]) -> bytes:
        """The key under the present root key. Raises KmsUnavailable and KmsRefused."""
        check_fit(key, context)
        blob = await self._call("encrypt", "CiphertextBlob", self._key_arn, key, context)
        return _header(self._key_arn) + blob.reveal()

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> Secret:
        """What was wrapped. Raises KmsUnavailable and KmsRefused."""
        arn = self._by_header.get(wrapped[:HEADER_BYTES])
        blob = wrapped[HEADER_BYTES:]
        if arn is None or not 1 <= len(blob) <= BLOB_BYTES_MAX:
            raise KmsWrongInput("not wrapped by a root key that is configured")
        return await self._call("decrypt", "Plaintext", arn, Secret(blob), context)

    async def close(self) -> None:
        """Lets go of connections. A call under way ends by its timeouts, and keeps nobody."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    async def _call(
        self, operation: str, wanted: str, arn: str, content: Secret, context: Mapping[str, str]
    ) -> Secret:
        def ask() -> Secret | VaultError:
            return self._ask(operation, wanted, arn, content, dict(context))

        async def within_the_deadline() -> Secret:
            outcome: Secret | VaultError = KmsUnavailable(
                f"AWS KMS did not answer within {KMS_SECONDS_MAX:g} seconds"
            )
            try:
                async with asyncio.timeout(KMS_SECONDS_MAX):
                    outcome = await self._lanes.run(ask)
            except TimeoutError:
                pass
            if isinstance(outcome, VaultError):
                raise outcome
            return outcome

        try:
            return await self._breaker.call(within_the_deadline)
        except LanesFull:
            # Not the breaker's concern: it is we who ask too much.
            raise KmsUnavailable("too many calls to AWS KMS are under way") from None

    def _ask(
        self, operation: str, wanted: str, arn: str, content: Secret, context: dict[str, str]
    ) -> Secret | VaultError:
        """One call, in a thread. No exception leaves it: those of the SDK hold what was sent."""
        sent = "Plaintext" if operation == "encrypt" else "CiphertextBlob"
        try:
            answer = getattr(self._connected(), operation)(
                KeyId=arn, EncryptionContext=context, **{sent: content.reveal()}
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, it may hold what was sent
            self._forget_client_without_credentials(error)
            return refusal_of(error)
        found = answer.get(wanted)
        if not isinstance(found, bytes) or not found:
            return KmsUnavailable("AWS KMS gave an answer that cannot be read")
        if answer.get("KeyId") != arn:
            return KmsRefused("AWS KMS answered for another key than it was asked for")
        return Secret(found)

    def _connected(self) -> Any:
        """The client, made in a thread: credentials may have to come from another server."""
        with self._making:
            if self._client is None:
                self._client = make_client(self._region, self._endpoint_url)
            return self._client

    def _forget_client_without_credentials(self, error: Exception) -> None:
        from botocore.exceptions import NoCredentialsError

        if isinstance(error, NoCredentialsError):  # it would never look for them again
            with self._making:
                self._client = None


def _place(key_arn: str) -> tuple[str, str]:
    """Region and host of a key. Raises ValueError."""
    found = AWS_KEY_ARN.fullmatch(key_arn)
    if found is None:
        raise ValueError("a root key in AWS KMS is named by its ARN: arn:aws:kms:REGION:…:key/…")
    region = found["region"]
    return region, f"kms.{region}.{DOMAINS[found['partition']]}"


def _header(key_arn: str) -> bytes:
    return WRAPPED_FORMAT + hashlib.sha256(key_arn.encode()).digest()[:FINGERPRINT_BYTES]
