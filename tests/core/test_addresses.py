"""Addresses as integers mean what the addresses of the standard library mean."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.addresses import MAX_ADDRESS, blocks_of, parse_address

V4, V6 = st.ip_addresses(v=4), st.ip_addresses(v=6)


@st.composite
def networks(draw):
    """A block of either version."""
    address = draw(st.one_of(V4, V6))
    length = draw(st.integers(0, address.max_prefixlen))
    return ipaddress.ip_network((address, length), strict=False)


def is_in(text, network):
    """Return whether an address is in a block, as the policy finds it."""
    [(mask, value)] = blocks_of([network])
    return parse_address(text) & mask == value


@given(networks(), st.one_of(V4, V6))
def test_an_address_is_in_the_blocks_that_contain_it(network, address):
    """For any address that is not IPv4-mapped; one beside the block and one inside of it."""
    inside = network[network.num_addresses // 2]
    for each in (address, inside):
        if not getattr(each, "ipv4_mapped", None):
            assert is_in(str(each), network) == (each in network)


@given(V4)
def test_an_ipv4_address_is_in_no_ipv6_block(address):
    """`::/0` holds every IPv6 address and no IPv4 address, in either form of writing."""
    for text in (str(address), f"::ffff:{address}"):
        assert not is_in(text, ipaddress.ip_network("::/0"))
        assert is_in(text, ipaddress.ip_network("0.0.0.0/0"))


@pytest.mark.parametrize("text", ["", "x", "1.2.3", "1.2.3.4/32", " 1.2.3.4", "1" * MAX_ADDRESS])
def test_text_that_is_no_address(text):
    """Other text gives no integer, so no block holds it."""
    assert parse_address(text) is None


def test_a_zone_does_not_count():
    """A link-local address is in its block with and without a zone."""
    assert is_in("fe80::1%eth0", ipaddress.ip_network("fe80::/10"))
