"""URLs of merchants: one form of each passes, and whatever could lead elsewhere is refused."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from strongroom.webhooks.egress import (
    URL_CHARACTERS_MAX,
    WHY,
    UrlRefused,
    checked_url,
    refusal_of,
)


def refused(url: str, *, loopback_allowed: bool = False) -> str:
    with pytest.raises(UrlRefused) as caught:
        checked_url(url, loopback_allowed=loopback_allowed)
    assert str(caught.value) == WHY[caught.value.reason]
    return caught.value.reason


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://example.com", "https://example.com/"),
        ("https://example.com/", "https://example.com/"),
        ("HTTPS://EXAMPLE.com/Path", "https://example.com/Path"),
        ("https://example.com:443/a", "https://example.com/a"),
        ("https://example.com:8443/a", "https://example.com:8443/a"),
        ("https://example.com:65535", "https://example.com:65535/"),
        ("https://example.com?a=b", "https://example.com/?a=b"),
        ("https://example.com/?b=https://10.0.0.1/@", "https://example.com/?b=https://10.0.0.1/@"),
        ("https://example.com/%2e%2E/a//b/../c;d=e", "https://example.com/%2e%2E/a//b/../c;d=e"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("https://a.b-c.1d.co/", "https://a.b-c.1d.co/"),
        ("https://1.1.1.1/", "https://1.1.1.1/"),
        ("https://[2606:4700:4700:0::1111]:1/", "https://[2606:4700:4700::1111]:1/"),
        ("https://0x7f.example/", "https://0x7f.example/"),
        ("https://127.0.0.1.example/", "https://127.0.0.1.example/"),
    ],
)  # fmt: skip
def test_a_url_that_passes_has_one_form(url, text):
    assert checked_url(url).text == text
    assert checked_url(text) == checked_url(url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "scheme"),
        ("example.com", "scheme"),
        ("//example.com/", "scheme"),
        ("https:example.com", "scheme"),
        ("https:/example.com", "scheme"),
        ("ftp://example.com/", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("gopher://example.com/", "scheme"),
        ("unix://example.com/", "scheme"),
        ("httpsx://example.com/", "scheme"),
        ("http://example.com/", "plaintext"),
        ("https:///", "host"),
        ("https://", "host"),
        ("https://:443/", "host"),
        ("https://?a", "host"),
        ("https://example.com:/", "port"),
        ("https://example.com:0/", "port"),
        ("https://example.com:65536/", "port"),
        ("https://example.com:00443/", "port"),
        ("https://example.com:+443/", "port"),
        ("https://example.com:4 43/", "characters"),
        ("https://example.com:443:80/", "port"),
        ("https://example.com:99999999999999999999/", "port"),
        ("https://example.com:https/", "port"),
        ("https://example.com:４４３/", "characters"),
        ("https://example.com/#a", "fragment"),
        ("https://example.com#", "fragment"),
        ("https://example.com#@10.0.0.1/", "fragment"),
        ("https://10.0.0.1#@example.com/", "fragment"),
        ("https://user@example.com/", "user"),
        ("https://user:pass@example.com/", "user"),
        ("https://@example.com/", "user"),
        ("https://good.example@127.0.0.1", "user"),
        ("https://good.example:443@127.0.0.1:8080/", "user"),
        ("https://127.0.0.1@good.example/", "user"),
        ("https://good.example\\@127.0.0.1/", "characters"),
        ("https://127.0.0.1\\@good.example/", "characters"),
        ("https:\\\\127.0.0.1/", "characters"),
        ("https://good.example\\.127.0.0.1/", "characters"),
        ("https://good.example\r\nhost: 127.0.0.1/", "characters"),
        ("https://good.example/\r\nwebhook-id: x", "characters"),
        ("https://good.example/\n", "characters"),
        ("\nhttps://good.example/", "characters"),
        ("https://good.example\t/", "characters"),
        ("ht\ttps://good.example/", "characters"),
        (" https://good.example/", "characters"),
        ("https://good.example/ ", "characters"),
        ("https://good.example/\0", "characters"),
        ("https://good.example/a b", "characters"),
        ("https://good.example/<", "characters"),
        ("https://good.example/{a}", "characters"),
        ("https://good.example/%", "characters"),
        ("https://good.example/%zz", "characters"),
        ("https://good.example/é", "characters"),
        ("https://bücher.example/", "characters"),
        ("https://１２７.0.0.1/", "characters"),
        ("https://①②⑦.⓪.⓪.①/", "characters"),
        ("https://127。0。0。1/", "characters"),
        ("https://127．0．0．1/", "characters"),
        ("https://ⓛocalhost/", "characters"),
        ("https://locaⅼhost/", "characters"),
        ("https://good.example\u2100.evil.example/", "characters"),
        ("https://good.example\u200b/", "characters"),
        ("https://good.example\udc80/", "characters"),
        ("https://%31%32%37.0.0.1/", "host"),
        ("https://127.0.0.1%2f@good.example/", "user"),
        ("https://127.0.0.1%00.good.example/", "host"),
        ("https://2130706433/", "host_number"),
        ("https://0x7f000001/", "host_number"),
        ("https://017700000001/", "host_number"),
        ("https://0x7f.1/", "host_number"),
        ("https://0x7f.0.0.0x1/", "host_number"),
        ("https://0177.0.0.1/", "host_number"),
        ("https://127.0.0.01/", "host_number"),
        ("https://127.1/", "host_number"),
        ("https://127.0.1/", "host_number"),
        ("https://0/", "host_number"),
        ("https://0x/", "host_number"),
        ("https://1.1.1/", "host_number"),
        ("https://1.1.1.1.1/", "host_number"),
        ("https://256.256.256.256/", "host_number"),
        ("https://4294967296/", "host_number"),
        ("https://good.example.0x7F/", "host_number"),
        ("https://127.0.0.1./", "host_dot"),
        ("https://localhost./", "host_dot"),
        ("https://good.example./", "host_dot"),
        ("https://good.example../", "host_dot"),
        ("https://./", "host_dot"),
        ("https://localhost/", "host_not_public"),
        ("https://LOCALHOST/", "host_not_public"),
        ("https://intranet/", "host_not_public"),
        ("https://good..example/", "host"),
        ("https://.good.example/", "host"),
        ("https://-good.example/", "host"),
        ("https://good-.example/", "host"),
        ("https://go_od.example/", "host"),
        ("https://good.example,127.0.0.1/", "host"),
        ("https://good.example;127.0.0.1/", "host"),
        ("https://good.example&127.0.0.1/", "host"),
        ("https://*.example/", "host"),
        ("https://" + "a" * 64 + ".example/", "host"),
        ("https://" + "a." * 124 + "example/", "host"),
        ("https://127.0.0.1/", "address"),
        ("https://169.254.169.254/latest/meta-data/", "address"),
        ("https://10.0.0.1/", "address"),
        ("https://0.0.0.0/", "address"),
        ("https://[::1]/", "address"),
        ("https://[::]/", "address"),
        ("https://[::ffff:7f00:1]/", "address"),
        ("https://[::ffff:127.0.0.1]/", "address"),
        ("https://[::FFFF:8.8.8.8]/", "address"),
        ("https://[0:0:0:0:0:0:0:1]/", "address"),
        ("https://[64:ff9b::a9fe:a9fe]/", "address"),
        ("https://[2002:7f00:1::]/", "address"),
        ("https://[fd00::1]/", "address"),
        ("https://[fe80::1%25lo]/", "address"),
        ("https://[fe80::1%lo]/", "characters"),
        ("https://[2606:4700:4700::1111%25eth0]/", "address"),
        ("https://[::1", "host"),
        ("https://::1/", "host"),
        ("https://::1]/", "host"),
        ("https://[[::1]]/", "host"),
        ("https://[]/", "host"),
        ("https://[127.0.0.1]/", "host"),
        ("https://[good.example]/", "host"),
        ("https://[v1.a]/", "host"),
        ("https://[::1]good.example/", "host"),
        ("https://good.example[::1]/", "host"),
        ("https://[::1].good.example/", "host"),
    ],
)  # fmt: skip
def test_a_url_that_could_lead_elsewhere_is_refused_and_it_is_said_why(url, reason):
    assert refused(url) == reason


def test_a_url_has_a_longest_form():
    longest = "https://example.com/" + "a" * (URL_CHARACTERS_MAX - 20)
    assert checked_url(longest).text == longest
    assert refused(longest + "a") == "too_long"
    assert refused("https://" + "@" * 10_000_000) == "too_long"


def test_nothing_of_a_url_is_in_the_refusal():
    for url in ("https://canary-7b1f@example.com/", "http://canary-7b1f.example", "canary-7b1f"):
        with pytest.raises(UrlRefused) as caught:
            checked_url(url)
        assert "canary" not in repr(caught.value) + str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8080/a", "http://[::1]:8080/a", "http://localhost:8080/a",
     "http://localhost/a", "https://localhost:8443/a",
     "https://127.9.9.9/a", "https://[::1]/a", "http://127.0.0.1/a"],
)  # fmt: skip
def test_in_development_http_goes_to_loopback(url):
    found = checked_url(url, loopback_allowed=True)
    assert found.text == url
    assert refused(url) in ("address", "host_not_public")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.com/", "plaintext"),
        ("http://1.1.1.1/", "plaintext"),
        ("http://localhost.example/", "plaintext"),
        ("http://10.0.0.1/", "address"),
        ("http://169.254.169.254/", "address"),
        ("http://0.0.0.0/", "address"),
        ("http://[::ffff:127.0.0.1]/", "address"),
        ("https://192.168.0.1/", "address"),
        ("http://localhost./", "host_dot"),
        ("http://2130706433/", "host_number"),
        ("http://0x7f.1/", "host_number"),
        ("http://0177.0.0.1/", "host_number"),
        ("http://127.1/", "host_number"),
        ("http://intranet/", "host_not_public"),
    ],
)
def test_in_development_nothing_else_is_let_through(url, reason):
    assert refused(url, loopback_allowed=True) == reason


PIECES = st.sampled_from(
    ["https", "http", ":", "//", "/", "?", "#", "@", "\\", "[", "]", "%", "%40", "%2f", ".", "..",
     "127.0.0.1", "10.0.0.1", "::1", "::ffff:7f00:1", "0x7f", "localhost", "example.com", "a",
     "443", ":443", "\t", "\n", " ", "。", "é", "1.1.1.1", "2606:4700::1111", "0"],
)  # fmt: skip


@given(st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=40), st.booleans())
def test_whatever_passes_is_read_alike_by_the_client_that_sends(tail, loopback_allowed):
    try:
        found = checked_url("https://" + tail, loopback_allowed=loopback_allowed)
    except UrlRefused:
        return
    read = URL(found.text, encoded=True)
    assert (read.scheme, read.raw_host, read.port) == (found.scheme, found.host, found.port)
    assert read.user is None
    assert read.password is None
    assert str(read) == found.text
    assert read.raw_path_qs == found.target
    assert found.text.isascii()
    assert found.text.isprintable()
    assert checked_url(found.text, loopback_allowed=loopback_allowed) == found


def test_every_reason_has_words():
    for reason in WHY:
        assert str(UrlRefused(reason)) == WHY[reason]


def test_a_destination_has_an_address_where_the_host_is_one():
    found = checked_url("https://example.com/")

    assert found.address is None
    assert checked_url("https://1.1.1.1/").address == IPv4Address("1.1.1.1")


@given(st.ip_addresses(), st.integers(1, 65_535))
def test_an_address_in_a_url_fares_as_it_does_alone(address, port):
    host = f"[{address}]" if address.version == 6 else str(address)
    if refusal_of(address) is None:
        found = checked_url(f"https://{host}:{port}/")
        assert (found.address, found.port) == (address, port)
    else:
        assert refused(f"https://{host}:{port}/") == "address"
