"""A webhook on its way: what a receiver gets, who may get it, and what is made of the answer."""

import asyncio
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from strongroom import __version__
from strongroom.webhooks.courier import Courier, Delivered
from strongroom.webhooks.signatures import BODY_BYTES_MAX, Message, SecretMalformed, new_secret
from tests.integration.courier.conftest import found_on_loopback
from tests.integration.courier.receivers import (
    LOOPBACK,
    Authority,
    Behave,
    receiving,
    sending,
    silent,
    status,
)

NAME = "hooks.shop.example"
BODY = '{"type": "payment.succeeded", "data": {"id": "pay_1", "name": "Bücher"}}'.encode()
SECRETS = [new_secret(), new_secret()]
OLD_TLS = "an old TLS"
"""Then the receiver hangs up: it has no version that it could offer."""
SECONDS_MAX = 60.0
"""What a deadline of a test may take on a machine with other things to do."""


def message(body: bytes = BODY, name: str = "evt_1") -> Message:
    return Message(id=name, at=datetime.now(UTC), body=body)


async def deliver(courier: Courier, url: str, body: bytes = BODY) -> Delivered:
    async with asyncio.timeout(SECONDS_MAX):
        return await courier.deliver(url, message(body), SECRETS)


async def test_a_receivers_library_accepts_it_with_either_secret(courier):
    async with receiving(status(200)) as receiver:
        delivered = await deliver(courier, receiver.url)
    assert (delivered.outcome, delivered.status) == ("delivered", 200)
    assert 0 < delivered.seconds < SECONDS_MAX
    (request,) = receiver.requests
    assert request.body == BODY
    for secret in SECRETS:
        payload = Webhook(secret.reveal_text()).verify(request.body, request.headers)
        assert payload["data"]["name"] == "Bücher"
    for body, secret in ((request.body + b" ", SECRETS[0]), (request.body, new_secret())):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret.reveal_text()).verify(body, request.headers)


async def test_the_request_is_what_was_asked_for_and_no_more(courier):
    async with receiving(status(204)) as receiver:
        await deliver(courier, receiver.url + "/%2e%2E/a//../b;c?d=%20e&f=https://10.0.0.1/")
    (request,) = receiver.requests
    assert request.line == "POST /hooks/%2e%2E/a//../b;c?d=%20e&f=https://10.0.0.1/ HTTP/1.1"
    assert sorted(request.headers) == [
        "accept", "accept-encoding", "connection", "content-length", "content-type", "host",
        "user-agent", "webhook-id", "webhook-signature", "webhook-timestamp",
    ]  # fmt: skip
    assert len(request.pairs) == len(request.headers)
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == f"Strongroom/{__version__}"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["connection"] == "close"
    assert request.headers["host"] == f"{LOOPBACK}:{receiver.port}"
    assert request.headers["content-length"] == str(len(BODY))


@pytest.mark.parametrize("code", [200, 201, 202, 204, 206, 299])
async def test_any_2xx_is_a_delivery(courier, code):
    async with receiving(status(code)) as receiver:
        delivered = await deliver(courier, receiver.url)
    assert (delivered.outcome, delivered.status) == ("delivered", code)


@pytest.mark.parametrize("code", [400, 401, 404, 410, 429, 500, 503, 599])
async def test_another_status_is_an_answer_and_told(courier, code):
    async with receiving(status(code, "retry-after: 1")) as receiver:
        delivered = await deliver(courier, receiver.url)
    assert (delivered.outcome, delivered.status) == ("answered", code)
    assert receiver.connections == 1


@pytest.mark.parametrize("code", [300, 301, 302, 303, 304, 305, 307, 308, 399])
async def test_a_redirect_is_not_followed(courier, code):
    async with receiving(status(200)) as target:
        other = f"http://localhost:{target.port}/"
        for header in (
            f"location: {target.url}",
            f"location: {other}",
            f"uri: {other}",
            f"refresh: 0; url={other}",
            "location: //[",
            "location: file:///etc/passwd",
            "x: y",
        ):
            async with receiving(status(code, header)) as receiver:
                delivered = await deliver(courier, receiver.url)
            assert (delivered.outcome, delivered.status) == ("redirected", code)
            assert receiver.connections == 1
        assert target.connections == 0


async def test_interim_answers_come_before_the_answer(courier):
    early = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + b"HTTP/1.1 100 Continue\r\n\r\n"
    async with receiving(sending(early, status(201))) as receiver:
        delivered = await deliver(courier, receiver.url)
    assert (delivered.outcome, delivered.status) == ("delivered", 201)


async def test_the_largest_message_arrives_whole(courier):
    body = b'"' + b"x" * (BODY_BYTES_MAX - 2) + b'"'
    async with receiving(status(200)) as receiver:
        assert (await deliver(courier, receiver.url, body)).outcome == "delivered"
    assert receiver.requests[0].body == body


async def test_each_message_has_a_connection_of_its_own_and_no_cookies_are_kept(courier):
    async with receiving(
        status(200, "set-cookie: a=b; Path=/", "connection: keep-alive")
    ) as receiver:
        for _ in range(3):
            await deliver(courier, receiver.url)
    assert receiver.connections == 3
    assert not any("cookie" in request.headers for request in receiver.requests)


async def test_proxies_and_netrc_of_the_environment_are_not_asked(monkeypatch, tmp_path, courier):
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {LOOPBACK} login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with receiving(status(200)) as proxy, receiving(status(200)) as receiver:
        for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.upper(), proxy.url)
        assert (await deliver(courier, receiver.url)).outcome == "delivered"
        assert proxy.connections == 0
    assert "authorization" not in receiver.requests[0].headers


async def test_many_are_delivered_at_once_each_with_its_own_message(courier):
    async with receiving(status(200)) as receiver:
        messages = [message(f'"{number}"'.encode(), f"evt_{number}") for number in range(50)]
        done = await asyncio.gather(
            *(courier.deliver(receiver.url, one, SECRETS[:1]) for one in messages)
        )
    assert {one.outcome for one in done} == {"delivered"}
    assert len(receiver.requests) == 50
    for request in receiver.requests:
        assert request.headers["webhook-id"] == f"evt_{request.body.decode().strip(chr(34))}"
        Webhook(SECRETS[0].reveal_text()).verify(request.body, request.headers)


async def test_over_tls_the_certificate_is_for_the_name(authority, courier):
    async with receiving(status(200), tls=authority.server(NAME)) as receiver:
        delivered = await deliver(courier, f"https://{NAME}:{receiver.port}/a")
    assert (delivered.outcome, delivered.status) == ("delivered", 200)
    assert receiver.requests[0].headers["host"] == f"{NAME}:{receiver.port}"


async def test_over_tls_an_address_needs_a_certificate_for_the_address(authority, courier):
    async with receiving(status(200), tls=authority.server(NAME, LOOPBACK)) as receiver:
        assert (await deliver(courier, f"https://{LOOPBACK}:{receiver.port}/")).status == 200
    async with receiving(status(200), tls=authority.server(NAME)) as receiver:
        delivered = await deliver(courier, f"https://{LOOPBACK}:{receiver.port}/")
    assert delivered.outcome == "tls_failed"
    assert not receiver.requests


def not_to_be_trusted(authority: Authority, folder: Path) -> Iterator[tuple[str, ssl.SSLContext]]:
    yield "another name", authority.server("other.example", f"sub.{NAME}")
    yield "a name inside of another", authority.server(f"{NAME}.evil.example", "shop.example")
    yield "a wildcard too high", authority.server("*.example")
    yield "expired", authority.server(NAME, expired=True)
    yield "an unknown CA", Authority(folder).server(NAME)
    old = authority.server(NAME)
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.set_ciphers("ALL:@SECLEVEL=0")
    yield OLD_TLS, old


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_a_message_is_sent_to_nobody_who_cannot_prove_the_name(authority, tmp_path):
    lax = authority.trusted()
    lax.minimum_version = ssl.TLSVersion.TLSv1
    lax.set_ciphers("ALL:@SECLEVEL=0")
    courier = Courier(loopback_allowed=True, lookup=found_on_loopback, tls=lax)
    for what, context in not_to_be_trusted(authority, tmp_path):
        async with receiving(status(200), tls=context) as receiver:
            delivered = await deliver(courier, f"https://{NAME}:{receiver.port}/")
        hung_up = what == OLD_TLS and delivered.outcome == "unreachable"
        assert hung_up or delivered.outcome == "tls_failed", what
        assert delivered.status is None
        assert not receiver.requests, what
    await courier.close()


async def test_by_default_the_systems_cas_alone_are_trusted(authority):
    courier = Courier(loopback_allowed=True, lookup=found_on_loopback)
    async with receiving(status(200), tls=authority.server(NAME)) as receiver:
        assert (await deliver(courier, f"https://{NAME}:{receiver.port}/")).outcome == "tls_failed"
    assert not receiver.requests
    assert courier._tls.verify_mode == ssl.CERT_REQUIRED
    assert courier._tls.check_hostname
    assert courier._tls.minimum_version == ssl.TLSVersion.TLSv1_2
    await courier.close()


async def test_who_speaks_no_tls_gets_no_message(courier):
    for answer in (status(200), b"SSH-2.0-OpenSSH_9.2\r\n", b"220 mail ESMTP\r\n", b"\x00" * 100):
        async with receiving(answer, reads=False) as receiver:
            delivered = await deliver(courier, f"https://{NAME}:{receiver.port}/")
        assert delivered.outcome in ("tls_failed", "unreachable")
        assert delivered.status is None


async def test_a_receiver_that_wants_to_know_who_we_are_gets_no_message(authority, courier):
    """We have no certificate to show, and TLS 1.3 says so after the client's handshake."""
    context = authority.server(NAME)
    context.verify_mode = ssl.CERT_REQUIRED
    async with receiving(demanding(context), reads=False) as receiver:
        delivered = await deliver(courier, f"https://{NAME}:{receiver.port}/")
    assert delivered.outcome == "tls_failed"


def demanding(context: ssl.SSLContext) -> Behave:
    """Shakes hands as a server, tells why it does not go on, and waits for the other side to go."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.readexactly(1))
            except ssl.SSLError:
                writer.write(outgoing.read())
                break
        await silent(reader, writer)

    return behave


async def test_a_handshake_that_does_not_end_is_over_at_the_deadline(authority):
    courier = Courier(loopback_allowed=True, seconds=0.5, lookup=found_on_loopback)
    async with receiving(silent, reads=False) as receiver:
        delivered = await deliver(courier, f"https://{NAME}:{receiver.port}/")
        assert delivered.outcome == "timed_out"
        async with asyncio.timeout(SECONDS_MAX):
            while receiver.open:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
    await courier.close()


async def test_where_nobody_listens_is_unreachable(courier):
    async with receiving(status(200)) as receiver:
        port = receiver.port
    assert (await deliver(courier, f"http://{LOOPBACK}:{port}/")).outcome == "unreachable"


async def test_names_are_looked_up_by_the_system(authority):
    courier = Courier(loopback_allowed=True, seconds=10)
    async with receiving(status(200)) as receiver:
        assert (await deliver(courier, f"http://localhost:{receiver.port}/")).status == 200
    longest = ".".join(["a" * 63] * 3 + ["b" * 53, "invalid"])
    for name in ("nobody.invalid", longest, "xn--a.invalid", "xn--0.invalid"):
        delivered = await deliver(courier, f"https://{name}/")
        assert delivered.outcome in ("name_unknown", "timed_out"), name
    await courier.close()


async def test_what_cannot_be_signed_is_not_sent(courier):
    async with receiving(status(200)) as receiver:
        with pytest.raises(SecretMalformed):
            await courier.deliver(receiver.url, message(), [SECRETS[0], type(SECRETS[0])("canary")])
        assert receiver.connections == 0
