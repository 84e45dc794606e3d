"""AWS KMS as a root key: bound to its context, in time or not at all, and nothing of it leaks."""

import asyncio
import base64
import logging
import threading
import time
import traceback
from collections.abc import AsyncIterator, Iterator

import boto3
import pytest

from strongroom.vault.aws_kms.adapter import HEADER_BYTES, AwsKms
from strongroom.vault.aws_kms.client import TRIES_MAX
from strongroom.vault.breaker import REST_SECONDS
from strongroom.vault.errors import (
    KmsDenied,
    KmsKeyDisabled,
    KmsRefused,
    KmsUnavailable,
    KmsWrongInput,
    VaultError,
)
from strongroom.vault.kms import KMS_SECONDS_MAX, WRAPPED_BYTES_MAX
from strongroom.vault.lanes import LANES
from strongroom.vault.secret import Secret
from tests.kms_servers import REGION, KmsFront
from tests.plugins.kms import CANARY, CREDENTIAL_VARIABLES, be_patient

CONTEXT = {"legal_entity": "le_1", "purpose": "entity key"}
KEY = b"canary-of-a-key-" * 4
LATE_SECONDS_MAX = 1.0
CROWD_LATE_SECONDS_MAX = 4.0
"""The last of a hundred that wait on a busy machine; one after the other they would take 50 s."""
RECOVERED_SECONDS_MAX = 60
WRAPS_MAX = 20
CALLS_IN_A_LANE_MAX = 2
"""That begin before the callers give up: one that hangs keeps its lane for 1.4 s of their 2."""
ALL = 10**9


class Seconds:
    """The clock of a breaker."""

    def __init__(self) -> None:
        self.value = 0.0

    def __call__(self) -> float:
        return self.value


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture(autouse=True)
def patient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a test is not about time, the machine has it."""
    if request.cls is not TestOutages:
        be_patient(monkeypatch)


@pytest.fixture
async def kms(front: KmsFront, seconds: Seconds, aws_environment) -> AsyncIterator[AwsKms]:
    kms = AwsKms(front.make_key(), endpoint_url=front.url, now=seconds)
    yield kms
    await kms.close()


@pytest.fixture
async def wrapped(kms: AwsKms, seconds: Seconds) -> bytes:
    for _ in range(WRAPS_MAX):
        try:
            return await kms.wrap(Secret(KEY), CONTEXT)
        except KmsUnavailable:  # a busy machine was slower than AWS may be
            seconds.value += REST_SECONDS + 1
    raise AssertionError("nothing could be wrapped")


def everything_told(error: BaseException) -> str:
    """Text, representation, tracebacks and local variables of an error and all behind it."""
    told, behind = [], [error]
    while behind:
        one = behind.pop()
        behind += [other for other in (one.__cause__, one.__context__) if other is not None]
        frames = traceback.TracebackException.from_exception(one, capture_locals=True)
        told += [str(one), repr(one), repr(one.args), repr(vars(one)), *frames.format()]
    return "\n".join(told)


def leaks(text: str) -> list[str]:
    """Which canaries a text holds, in the clear or as AWS's protocol has them."""
    forms = {
        "credential": CANARY,
        "key": "canary-of-a-key",
        "coded": base64.b64encode(KEY).decode(),
    }
    return [name for name, form in forms.items() if form in text]


class TestWrapping:
    async def test_what_was_wrapped_comes_back(self, kms, front, wrapped):
        assert KEY not in wrapped
        assert await kms.unwrap(wrapped, dict(reversed(CONTEXT.items()))) == Secret(KEY)
        largest = Secret(b"k" * WRAPPED_BYTES_MAX)
        assert await kms.unwrap(await kms.wrap(largest, CONTEXT), CONTEXT) == largest

    async def test_every_request_names_key_and_context(self, kms, front, wrapped):
        await kms.unwrap(wrapped, CONTEXT)
        asked = [one for one in front.asked if one.operation in ("Encrypt", "Decrypt")]
        assert [one.operation for one in asked] == ["Encrypt", "Decrypt"]
        assert {(one.key_id, tuple(one.context.items())) for one in asked} == {
            (kms.root_key, tuple(CONTEXT.items()))
        }

    @pytest.mark.parametrize(
        "context",
        [
            {},
            {"legal_entity": "le_2", "purpose": "entity key"},
            {"legal_entity": "le_1"},
            {**CONTEXT, "more": "1"},
            {"legal_entity": "entity key", "purpose": "le_1"},
        ],
    )
    async def test_another_context_is_refused(self, kms, wrapped, context):
        with pytest.raises(KmsWrongInput):
            await kms.unwrap(wrapped, context)
        assert await kms.unwrap(wrapped, CONTEXT) == Secret(KEY)

    async def test_another_root_key_is_refused_even_under_its_header(self, kms, front, wrapped):
        other = AwsKms(front.make_key(), endpoint_url=front.url)
        theirs = await other.wrap(Secret(KEY), CONTEXT)
        with pytest.raises(KmsWrongInput, match="configured"):
            await other.unwrap(wrapped, CONTEXT)
        with pytest.raises(KmsWrongInput, match="IncorrectKeyException"):
            await other.unwrap(theirs[:HEADER_BYTES] + wrapped[HEADER_BYTES:], CONTEXT)
        await other.close()

    async def test_what_was_cut_or_changed_is_refused(self, kms, wrapped):
        wrong = [wrapped[:size] for size in range(0, len(wrapped), 7)]
        for place in range(0, len(wrapped), 5):
            changed = bytearray(wrapped)
            changed[place] ^= 1 << place % 8
            wrong.append(bytes(changed))
        wrong += [wrapped + b"x", wrapped + b"x" * 10_000, b"", b"\x01" * 60]
        for one in wrong:
            with pytest.raises(KmsWrongInput):
                await kms.unwrap(one, CONTEXT)

    async def test_a_former_root_key_unwraps_and_the_present_one_wraps(self, kms, front, wrapped):
        new = AwsKms(front.make_key(), former=[kms.root_key], endpoint_url=front.url)
        assert await new.unwrap(wrapped, CONTEXT) == Secret(KEY)
        again = await new.wrap(await new.unwrap(wrapped, CONTEXT), CONTEXT)
        assert await new.unwrap(again, CONTEXT) == Secret(KEY)
        with pytest.raises(KmsWrongInput):
            await kms.unwrap(again, CONTEXT)
        await new.close()


class TestRefusals:
    async def test_a_disabled_key_has_its_own_error_until_it_is_enabled(self, kms, front, wrapped):
        front.disable(kms.root_key)
        for ask in (kms.unwrap(wrapped, CONTEXT), kms.wrap(Secret(KEY), CONTEXT)):
            with pytest.raises(KmsKeyDisabled, match="DisabledException"):
                await ask
        front.enable(kms.root_key)
        assert await kms.unwrap(wrapped, CONTEXT) == Secret(KEY)

    async def test_so_has_one_that_is_to_be_deleted(self, kms, front, wrapped):
        front.schedule_deletion(kms.root_key)
        with pytest.raises(KmsKeyDisabled, match="KMSInvalidStateException"):
            await kms.unwrap(wrapped, CONTEXT)

    @pytest.mark.parametrize(
        ("status", "code", "error"),
        [
            (400, "ThrottlingException", KmsUnavailable),
            (500, "KMSInternalException", KmsUnavailable),
            (500, "DependencyTimeoutException", KmsUnavailable),
            (500, "KeyUnavailableException", KmsUnavailable),
            (503, "NoSuchCode", KmsUnavailable),
            (502, "", KmsUnavailable),
            (429, "NoSuchCode", KmsUnavailable),
            (400, "AccessDeniedException", KmsDenied),
            (400, "NotFoundException", KmsDenied),
            (400, "UnrecognizedClientException", KmsDenied),
            (400, "ExpiredTokenException", KmsDenied),
            (403, "InvalidSignatureException", KmsDenied),
            (400, "DisabledException", KmsKeyDisabled),
            (400, "InvalidCiphertextException", KmsWrongInput),
            (400, "ValidationException", KmsRefused),
            (400, "NoSuchCode", KmsRefused),
        ],
    )
    async def test_each_has_its_error_and_tells_nothing(
        self, kms, front, seconds, wrapped, status, code, error
    ):
        front.error = status, code
        for ask in (kms.wrap(Secret(KEY), CONTEXT), kms.unwrap(wrapped, CONTEXT)):
            with pytest.raises(VaultError) as caught:
                await ask
            assert type(caught.value) is error
            assert "NoSuchCode" not in str(caught.value)
            assert leaks(everything_told(caught.value)) == []
            seconds.value += REST_SECONDS
        front.mend()
        assert await kms.unwrap(wrapped, CONTEXT) == Secret(KEY)

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"{",
            b"null",
            b"[]",
            b"{}",
            b'{"Plaintext": 7}',
            b'{"Plaintext": "*"}',
            b"\xff" * 99,
        ],
    )
    async def test_an_answer_that_cannot_be_read_is_none(self, kms, front, wrapped, answer):
        front.malformed = answer
        with pytest.raises(VaultError) as caught:
            await kms.unwrap(wrapped, CONTEXT)
        assert isinstance(caught.value, KmsUnavailable)
        assert leaks(everything_told(caught.value)) == []

    async def test_an_answer_for_another_key_is_not_taken(self, kms, front, wrapped):
        front.malformed = b'{"Plaintext": "aGVsbG8=", "KeyId": "arn:aws:kms:another"}'
        with pytest.raises(KmsRefused, match="another key"):
            await kms.unwrap(wrapped, CONTEXT)

    async def test_without_credentials_it_is_denied_and_looks_for_them_again(
        self, front, aws_environment
    ):
        for name in CREDENTIAL_VARIABLES:
            aws_environment.delenv(name)
        kms = AwsKms(front.make_key(), endpoint_url=front.url)
        with pytest.raises(KmsDenied, match="NoCredentialsError"):
            await kms.wrap(Secret(KEY), CONTEXT)
        for name in CREDENTIAL_VARIABLES:
            aws_environment.setenv(name, CANARY)
        assert await kms.unwrap(await kms.wrap(Secret(KEY), CONTEXT), CONTEXT) == Secret(KEY)
        await kms.close()


class TestOutages:
    async def test_it_answers_in_time_when_the_kms_hangs(self, kms, front, wrapped):
        front.hang = True
        before = time.monotonic()
        with pytest.raises(KmsUnavailable):
            await kms.unwrap(wrapped, CONTEXT)
        assert time.monotonic() - before <= KMS_SECONDS_MAX + LATE_SECONDS_MAX

    async def test_a_hundred_callers_of_one_that_hangs_do_not_pile_up(
        self, kms, front, seconds, wrapped
    ):
        front.hang = True
        watch = asyncio.create_task(longest_pause())
        front.asked.clear()
        before = time.monotonic()
        calls = [kms.unwrap(wrapped, CONTEXT) for _ in range(100)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert time.monotonic() - before <= KMS_SECONDS_MAX + CROWD_LATE_SECONDS_MAX
        assert {type(answer) for answer in answers} == {KmsUnavailable}
        assert sum(t.name == "strongroom-kms" for t in threading.enumerate()) <= LANES
        assert front.calls("Decrypt") <= CALLS_IN_A_LANE_MAX * TRIES_MAX * LANES
        before = time.monotonic()
        for _ in range(100):
            with pytest.raises(KmsUnavailable, match="a moment ago"):
                await kms.unwrap(wrapped, CONTEXT)
        assert time.monotonic() - before < LATE_SECONDS_MAX
        watch.cancel()
        assert await watch < LATE_SECONDS_MAX
        front.mend()
        await recovered(kms, seconds, wrapped)

    async def test_one_that_is_slow_is_waited_for(self, kms, front, wrapped):
        front.delay_seconds = 0.4
        assert await kms.unwrap(wrapped, CONTEXT) == Secret(KEY)

    async def test_a_cut_connection_is_unavailable_until_it_holds_again(
        self, kms, front, seconds, wrapped
    ):
        front.cuts = ALL
        for ask in (kms.wrap(Secret(KEY), CONTEXT), kms.unwrap(wrapped, CONTEXT)):
            with pytest.raises(KmsUnavailable) as caught:
                await ask
            assert leaks(everything_told(caught.value)) == []
            seconds.value += REST_SECONDS
        front.mend()
        await recovered(kms, seconds, wrapped)

    async def test_a_connection_that_is_cut_once_is_made_anew(self, kms, front, wrapped):
        front.cuts = 1
        assert await kms.unwrap(wrapped, CONTEXT) == Secret(KEY)
        assert front.calls("Decrypt") == 2

    async def test_nobody_listens(self, unused_tcp_port, seconds, aws_environment, front):
        kms = AwsKms(front.make_key(), endpoint_url=f"http://127.0.0.1:{unused_tcp_port}")
        before = time.monotonic()
        with pytest.raises(KmsUnavailable, match="EndpointConnectionError"):
            await kms.wrap(Secret(KEY), CONTEXT)
        assert time.monotonic() - before <= KMS_SECONDS_MAX + LATE_SECONDS_MAX
        await kms.close()

    async def test_many_callers_at_once_are_all_served(self, kms, wrapped):
        calls = [kms.unwrap(wrapped, CONTEXT) for _ in range(LANES + 40)]
        assert await asyncio.gather(*calls) == [Secret(KEY)] * (LANES + 40)


async def recovered(kms: AwsKms, seconds: Seconds, wrapped: bytes) -> None:
    """Raises TimeoutError when it does not answer again soon."""
    async with asyncio.timeout(RECOVERED_SECONDS_MAX):
        while True:
            seconds.value += REST_SECONDS
            try:
                assert await kms.unwrap(wrapped, CONTEXT) == Secret(KEY)
            except KmsUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def longest_pause() -> float:
    """How long the loop stood still at most, until it is cancelled."""
    longest = 0.0
    try:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)
    except asyncio.CancelledError:
        return longest


class Heard(logging.Handler):
    """All that any library logs."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += self.format(record) + repr(record.args)


@pytest.fixture
def heard() -> Iterator[Heard]:
    """The root logger at its most talkative, and those of the SDK as they are without us."""
    heard, root = Heard(), logging.getLogger()
    level = root.level
    root.addHandler(heard)
    root.setLevel(logging.NOTSET + 1)
    for name in ("boto3", "botocore", "urllib3"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    yield heard
    root.removeHandler(heard)
    root.setLevel(level)


async def test_no_log_holds_what_is_wrapped(front, aws_environment, heard):
    arn = front.make_key()
    plain = boto3.session.Session().client("kms", region_name=REGION, endpoint_url=front.url)
    plain.encrypt(KeyId=arn, Plaintext=KEY)
    assert leaks(heard.text) == ["credential", "coded"]  # what the SDK does on its own
    heard.text = ""
    kms = AwsKms(arn, endpoint_url=front.url)
    wrapped = await kms.wrap(Secret(KEY), CONTEXT)
    await kms.unwrap(wrapped, CONTEXT)
    front.error = 500, "KMSInternalException"
    with pytest.raises(KmsUnavailable):
        await kms.wrap(Secret(KEY), CONTEXT)
    assert leaks(heard.text) == []
    await kms.close()
