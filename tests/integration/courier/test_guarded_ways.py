"""Whatever a URL, a name server or a client library tries, nothing private is connected to."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest

from strongroom.webhooks import courier as module
from strongroom.webhooks.courier import Courier, Delivered, Lookup, _Way
from strongroom.webhooks.egress import AddressRefused, Destination, UrlRefused, checked_url
from strongroom.webhooks.signatures import Message, new_secret
from tests.integration.courier.receivers import LOOPBACK, Receiver, receiving, status

PUBLIC, OTHER_PUBLIC, PUBLIC_6 = "93.184.216.34", "1.1.1.1", "2606:4700:4700::1111"
NAME = "hooks.shop.example"
SECONDS_MAX = 60.0
SECRETS = [new_secret()]
TLS = ssl.create_default_context()

Connected = list[tuple[str, int]]


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> Connected:
    """What was connected to, if that is not loopback; it is refused before a packet leaves."""
    found: Connected = []

    class Recorded(socket.socket):
        def connect(self, address):
            if not ip_address(address[0]).is_loopback:
                found.append((address[0], address[1]))
                raise ConnectionRefusedError
            super().connect(address)

    monkeypatch.setattr(module, "new_socket", Recorded)
    return found


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver on loopback that nothing should reach; in the end it is seen to count."""
    async with receiving(status(200)) as found:
        yield found
        before = found.connections
        _, writer = await asyncio.open_connection(LOOPBACK, found.port)
        async with asyncio.timeout(SECONDS_MAX):
            while found.connections == before:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        writer.close()


class Names:
    """A name server that says the next of its answers each time, and its last one for ever."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, name: str) -> Sequence[str]:
        self.asked.append(name)
        answer = self._answers[min(len(self.asked), len(self._answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def deliver(
    url: str, lookup: Lookup | None = None, *, loopback_allowed: bool = False, seconds: float = 10
) -> Delivered:
    courier = Courier(loopback_allowed=loopback_allowed, lookup=lookup, seconds=seconds, tls=TLS)
    try:
        async with asyncio.timeout(SECONDS_MAX):
            message = Message(id="evt_1", at=datetime.now(UTC), body=b"{}")
            return await courier.deliver(url, message, SECRETS)
    finally:
        await courier.close()


def disguises(port: int) -> Iterator[str]:
    for host in (
        "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0x7f.0.0.1",
        "017700000001", "0177.0.0.1", "127.0.0.1.", "127.255.255.254", "0.0.0.0", "0", "localhost",
        "LOCALHOST", "localhost.", "localhost.localdomain", "ip6-localhost", "[::1]", "[::]",
        "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[::1%25lo]",
        "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "１２７.0.0.1", "127。0。0。1", "①②⑦.0.0.1",
        "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "good.example@127.0.0.1", "good.example:80@127.0.0.1",
        "good.example\\@127.0.0.1", "good.example#@127.0.0.1", "127.0.0.1#", "127.0.0.1%2f",
        "%6c%6f%63%61%6c%68%6f%73%74", "127.0.0.1\t", "good.example\r\nhost:127.0.0.1",
    ):  # fmt: skip
        for scheme in ("https", "http"):
            yield f"{scheme}://{host}:{port}/"
            yield f"{scheme}:{host}:{port}/"
            yield f"{scheme}:///{host}:{port}/"


async def test_no_disguise_of_loopback_in_a_url_is_connected_to(receiver, connected):
    for url in disguises(receiver.port):
        delivered = await deliver(url, Names([LOOPBACK]))
        assert delivered.outcome in ("url_refused", "address_refused"), url
        assert delivered.status is None
    assert receiver.connections == 0
    assert connected == []


async def test_a_name_that_leads_to_a_private_address_is_refused(receiver, connected):
    for address in (
        LOOPBACK, "127.0.0.2", "0.0.0.0", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1",
        "169.254.169.254", "168.63.129.16", "::1", "::", "::ffff:127.0.0.1", "::ffff:93.184.216.34",
        "64:ff9b::7f00:1", "2002:7f00:1::1", "fd00:ec2::254", "fe80::1", "fe80::1%1",
        f"{PUBLIC_6}%1", "224.0.0.1", "255.255.255.255", "127.1", "2130706433", "localhost", "",
        f"[{PUBLIC_6}]", f"{PUBLIC} ", NAME,
    ):  # fmt: skip
        names = Names([address])
        delivered = await deliver(f"https://{NAME}:{receiver.port}/", names)
        assert delivered.outcome == "address_refused", address
        assert names.asked == [NAME]
    assert receiver.connections == 0
    assert connected == []


@pytest.mark.parametrize(
    "answer",
    [[PUBLIC, LOOPBACK], [LOOPBACK, PUBLIC], [PUBLIC_6, "::1"], [PUBLIC, OTHER_PUBLIC, "10.0.0.1"],
     [PUBLIC] * 500 + ["169.254.169.254"], [PUBLIC, "fe80::1%1"], [PUBLIC, ""]],
    ids=lambda answer: f"{len(answer)}-{answer[-1]}",
)  # fmt: skip
async def test_one_refused_address_refuses_the_whole_answer(receiver, connected, answer):
    delivered = await deliver(f"https://{NAME}:{receiver.port}/", Names(answer))
    assert delivered.outcome == "address_refused"
    assert receiver.connections == 0
    assert connected == []


async def test_a_name_that_is_rebound_is_looked_up_once_and_its_first_answer_holds(
    receiver, connected
):
    names = Names([PUBLIC], [LOOPBACK])
    delivered = await deliver(f"https://{NAME}:{receiver.port}/", names)
    assert delivered.outcome == "unreachable"
    assert names.asked == [NAME]
    assert connected == [(PUBLIC, receiver.port)]
    assert receiver.connections == 0


async def test_each_delivery_looks_anew_and_is_guarded_anew(receiver, connected):
    names = Names([PUBLIC], [LOOPBACK])
    courier = Courier(lookup=names)
    message = Message(id="evt_1", at=datetime.now(UTC), body=b"{}")
    outcomes = [
        (await courier.deliver(f"https://{NAME}:{receiver.port}/", message, SECRETS)).outcome
        for _ in range(3)
    ]
    await courier.close()
    assert outcomes == ["unreachable", "address_refused", "address_refused"]
    assert len(connected) == 1
    assert receiver.connections == 0


@pytest.mark.parametrize(
    ("answer", "tried"),
    [
        ([PUBLIC, OTHER_PUBLIC], [PUBLIC]),
        ([OTHER_PUBLIC, PUBLIC, PUBLIC], [OTHER_PUBLIC]),
        ([PUBLIC, PUBLIC], [PUBLIC]),
        ([PUBLIC_6, PUBLIC], [PUBLIC_6, PUBLIC]),
        ([OTHER_PUBLIC, PUBLIC_6, PUBLIC], [OTHER_PUBLIC, PUBLIC_6]),
        ([PUBLIC] * 300 + [PUBLIC_6] * 300, [PUBLIC, PUBLIC_6]),
    ],
)
async def test_the_first_address_of_each_family_is_tried_once(connected, answer, tried):
    names = Names(answer)
    assert (await deliver(f"https://{NAME}/", names)).outcome == "unreachable"
    assert connected == [(address, 443) for address in tried]
    assert names.asked == [NAME]


async def test_where_nobody_listens_the_other_family_is_tried(receiver):
    """As `localhost` in development, where a server often has but one of its two addresses."""
    before = receiver.connections
    url = f"http://localhost:{receiver.port}/"
    for answer in (["::1", LOOPBACK], [LOOPBACK, "::1"]):
        delivered = await deliver(url, Names(answer), loopback_allowed=True)
        assert (delivered.outcome, delivered.status) == ("delivered", 200)
    assert receiver.connections == before + 2


async def test_an_address_in_the_url_is_connected_to_without_a_look_up(connected):
    names = Names([LOOPBACK])
    for host, address in ((PUBLIC, PUBLIC), (f"[{PUBLIC_6}]", PUBLIC_6)):
        url = f"https://{host}:8443/"
        connected.clear()
        assert (await deliver(url, names)).outcome == "unreachable"
        assert connected == [(address, 8443)]
    assert names.asked == []


async def test_the_socket_refuses_what_the_url_was_not_taken_for(monkeypatch, receiver, connected):
    """If the rules for URLs had a hole, the socket would still be there."""

    found = Destination(
        scheme="https",
        host=LOOPBACK,
        port=receiver.port,
        target="/",
        address=ip_address(LOOPBACK),
    )

    def blind(_text: str, *, loopback_allowed: bool) -> Destination:
        return found

    monkeypatch.setattr(module, "checked_url", blind)
    assert (await deliver("https://good.example/")).outcome == "address_refused"
    assert receiver.connections == 0


async def test_the_socket_refuses_what_the_look_up_let_through(monkeypatch, receiver, connected):
    """If a client library took another way to an address, the socket would still be there."""
    hosts = [LOOPBACK, "127.0.0.2", OTHER_PUBLIC, "::1", PUBLIC_6]

    async def blind(self, host, port=0, family=0):
        self._checked = (PUBLIC,)
        return [{"hostname": host, "host": one, "port": port, "family": 0, "proto": 0, "flags": 0}
                for one in hosts]  # fmt: skip

    monkeypatch.setattr(_Way, "resolve", blind)
    assert (await deliver(f"https://{NAME}:{receiver.port}/")).outcome == "address_refused"
    assert receiver.connections == 0
    assert connected == []


@pytest.mark.parametrize(
    "address",
    [(PUBLIC, 444), (PUBLIC, 22), (OTHER_PUBLIC, 443), (LOOPBACK, 443), (PUBLIC_6, 443, 0, 0),
     (PUBLIC, 443, 0, 1), (NAME, 443), ("93.184.216.034", 443)],
)  # fmt: skip
async def test_a_socket_is_for_the_checked_address_and_port_alone(address):
    way = _Way(checked_url(f"https://{NAME}/"), Names([PUBLIC]), loopback_allowed=False)
    stream, protocol = socket.SOCK_STREAM, socket.IPPROTO_TCP
    with pytest.raises(AddressRefused):  # nothing was looked up yet
        way.open_socket((socket.AF_INET, stream, protocol, "", (PUBLIC, 443)))
    await way.resolve(NAME, 443)
    way.open_socket((socket.AF_INET, stream, protocol, "", (PUBLIC, 443))).close()
    with pytest.raises(AddressRefused):
        way.open_socket((socket.AF_INET, stream, protocol, "", address))
    for again in (NAME, "other.example"):
        with pytest.raises(AddressRefused):
            await way.resolve(again, 443)


async def test_in_development_plaintext_stays_on_the_machine(connected):
    names = Names([PUBLIC])
    assert (await deliver("http://localhost/", names, loopback_allowed=True)).outcome == (
        "address_refused"
    )
    assert (await deliver(f"http://{NAME}/", names, loopback_allowed=True)).outcome == "url_refused"
    assert connected == []


async def test_in_development_other_private_addresses_are_refused_still(receiver, connected):
    for answer in (["10.0.0.1"], [LOOPBACK, "10.0.0.1"], ["::ffff:127.0.0.1"], ["0.0.0.0"]):
        url = f"https://{NAME}:{receiver.port}/"
        delivered = await deliver(url, Names(answer), loopback_allowed=True)
        assert delivered.outcome == "address_refused"
    assert receiver.connections == 0
    assert connected == []


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ([], "name_unknown"),
        (socket.gaierror(socket.EAI_NONAME, "no"), "name_unknown"),
        (socket.gaierror(socket.EAI_AGAIN, "later"), "name_unknown"),
        (OSError("broken"), "name_unknown"),
        (TimeoutError("slow"), "timed_out"),
        (UnicodeError("label too long"), "malformed_answer"),
        (ValueError("odd"), "malformed_answer"),
    ],
)
async def test_a_name_server_that_fails_is_an_outcome(connected, answer, outcome):
    assert (await deliver(f"https://{NAME}/", Names(answer))).outcome == outcome
    assert connected == []


async def test_a_name_server_that_says_nothing_is_over_at_the_deadline(connected):
    async def never(_name: str) -> list[str]:
        await asyncio.Event().wait()
        return [PUBLIC]

    assert (await deliver(f"https://{NAME}/", never, seconds=0.3)).outcome == "timed_out"
    assert connected == []


async def test_names_are_asked_for_without_a_search_list(monkeypatch):
    asked = []

    def recorded(host, port, **_kind):
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "no")

    monkeypatch.setattr(socket, "getaddrinfo", recorded)
    assert (await deliver(f"https://{NAME}/")).outcome == "name_unknown"
    assert (await deliver("https://localhost/", loopback_allowed=True)).outcome == "name_unknown"
    assert asked == [NAME + ".", "localhost"]


async def test_slow_names_hold_up_no_other_threads(monkeypatch):
    """A merchant's name server that drips must not take the threads of the whole process."""
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: release.wait())
    courier = Courier(seconds=0.3)
    message = Message(id="evt_1", at=datetime.now(UTC), body=b"{}")
    try:
        slow = [courier.deliver(f"https://{NAME}/", message, SECRETS) for _ in range(40)]
        assert {one.outcome for one in await asyncio.gather(*slow)} == {"timed_out"}
        async with asyncio.timeout(SECONDS_MAX):
            assert await asyncio.to_thread(lambda: "at once") == "at once"
    finally:
        release.set()
        await courier.close()


def test_what_is_refused_for_its_url_is_refused_at_entry_too() -> None:
    for url in disguises(8080):
        if "localdomain" not in url:
            with pytest.raises(UrlRefused):
                checked_url(url)
