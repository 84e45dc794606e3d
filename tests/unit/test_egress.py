"""Where webhooks may go: every disguise of an address that is not public is seen through."""

import ipaddress
from ipaddress import IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.webhooks.egress import (
    GLOBAL_UNICAST,
    LOOPBACK,
    REFUSED,
    refusal_of,
)

NOT_PUBLIC = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "10.0.0.1": "private",
    "10.255.255.255": "private",
    "100.64.0.1": "shared",
    "100.100.100.200": "shared",
    "100.127.255.255": "shared",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "168.63.129.16": "platform",
    "169.254.0.1": "link_local",
    "169.254.169.254": "link_local",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.1": "protocols",
    "192.0.0.9": "protocols",
    "192.0.0.192": "protocols",
    "192.0.2.1": "documentation",
    "192.31.196.1": "as112",
    "192.52.193.1": "relay",
    "192.88.99.1": "relay",
    "192.168.0.1": "private",
    "192.168.255.255": "private",
    "192.175.48.1": "as112",
    "198.18.0.1": "benchmarking",
    "198.19.255.255": "benchmarking",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "::": "unspecified",
    "::1": "loopback",
    "::2": "ipv4_inside",
    "::127.0.0.1": "ipv4_inside",
    "::ffff:127.0.0.1": "ipv4_inside",
    "::ffff:7f00:1": "ipv4_inside",
    "::ffff:8.8.8.8": "ipv4_inside",
    "::ffff:0:127.0.0.1": "not_global_unicast",
    "64:ff9b::7f00:1": "ipv4_inside",
    "64:ff9b::8.8.8.8": "ipv4_inside",
    "64:ff9b:1::a00:1": "ipv4_inside",
    "64:ff9b:1:ffff::1": "ipv4_inside",
    "100::1": "discard",
    "100:0:0:1::1": "discard",
    "2001::1": "ipv4_inside",
    "2001:0:7f00:1::": "ipv4_inside",
    "2001:1::1": "protocols",
    "2001:2::1": "benchmarking",
    "2001:3::1": "protocols",
    "2001:4:112::1": "protocols",
    "2001:10::1": "orchid",
    "2001:1f:ffff::1": "orchid",
    "2001:20::1": "orchid",
    "2001:30::1": "protocols",
    "2001:1ff:ffff::1": "protocols",
    "2001:db8::1": "documentation",
    "2002:7f00:1::": "ipv4_inside",
    "2002:a9fe:a9fe::1": "ipv4_inside",
    "2002:808:808::1": "ipv4_inside",
    "2620:4f:8000::1": "as112",
    "3ffe::1": "reserved",
    "3fff::1": "documentation",
    "3fff:fff:ffff::1": "documentation",
    "4000::1": "not_global_unicast",
    "1fff:ffff::1": "not_global_unicast",
    "5f00::1": "segments",
    "fc00::1": "private",
    "fd00::1": "private",
    "fd00:ec2::254": "private",
    "fe00::1": "not_global_unicast",
    "fe80::1": "link_local",
    "fe80::1%lo": "scoped",
    "::1%1": "scoped",
    "2606:4700:4700::1111%eth0": "scoped",
    "fec0::1": "site_local",
    "ff02::1": "multicast",
    "ff0e::1": "multicast",
}
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
    "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255",
    "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0",
    "198.17.255.255", "198.20.0.0", "223.255.255.255", "93.184.216.34",
    "2000::1", "2001:200::1", "2001:4860:4860::8888", "2003::1", "2606:4700:4700::1111",
    "2a00:1450:4001:82f::200e", "3ffd::1", "3fff:1000::1",
]  # fmt: skip
NO_ADDRESSES = [
    "", " ", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.01",
    "127.0.0.1 ", "127.0.0.1\n", "[::1]", "1.1.1.1/32", "1.1.1.1:80", "::ffff:127.0.0.1:80",
    "１２７.0.0.1", "127。0。0。1", "1.1.1", "256.1.1.1", "٨.٨.٨.٨",
]  # fmt: skip
TABLE = [network for network, _ in REFUSED]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_refused_and_named(address):
    assert refusal_of(address) == NOT_PUBLIC[address]
    assert refusal_of(ip_address(address)) == NOT_PUBLIC[address]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_passes(address):
    assert refusal_of(address) is None
    assert refusal_of(address, loopback_allowed=True) is None


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_what_is_no_address_in_its_usual_form_is_refused(text):
    assert refusal_of(text) == "no_address"
    assert refusal_of(text, loopback_allowed=True) == "no_address"


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_in_development_loopback_passes_and_nothing_else_does(address):
    passes = refusal_of(address, loopback_allowed=True) is None
    assert passes == (NOT_PUBLIC[address] == LOOPBACK)


@given(st.data())
def test_no_address_of_a_refused_network_passes(data):
    network = data.draw(st.sampled_from(TABLE))
    address = data.draw(st.ip_addresses(network=network))
    assert refusal_of(address) is not None
    assert refusal_of(str(address)) is not None
    for edge in (network[0], network[-1]):
        assert refusal_of(edge) is not None


@given(st.ip_addresses(v=6))
def test_nothing_outside_of_global_unicast_passes(address):
    assert address in GLOBAL_UNICAST or refusal_of(address) is not None


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_passes_inside_of_an_ipv6_address(address):
    number = int(address)
    for inside in (
        number,
        0xFFFF << 32 | number,
        0xFFFF << 48 | number,
        0x64FF9B << 96 | number,
        0x64FF9B0001 << 80 | number,
        0x2002 << 112 | number << 80,
        0x2001 << 112 | number << 64,
        0x2001 << 112 | number ^ 0xFFFFFFFF,
        0xFE80 << 112 | 0x5EFE << 32 | number,
    ):
        assert refusal_of(IPv6Address(inside)) is not None


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_whatever_passes_is_global_for_python_too(address):
    if refusal_of(address) is None:
        assert address.is_global
        assert not any((address.is_private, address.is_reserved, address.is_multicast))


def test_the_table_holds_what_python_calls_special():
    """What newer versions of Python know must not be missing here."""
    v4, v6 = (vars(ipaddress)[f"_IPv{version}Constants"] for version in (4, 6))
    known = [
        *v4._private_networks,
        *v6._private_networks,
        *v6._reserved_networks,
        v4._multicast_network,
        v6._multicast_network,
    ]
    for network in known:
        for address in (network[0], network[-1], network[network.num_addresses // 2]):
            assert refusal_of(address) is not None, network
