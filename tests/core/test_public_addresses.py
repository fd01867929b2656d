"""Addresses of the public internet."""

import pytest

from authz.core.fields import networks
from authz.core.public_addresses import may_be_reached

INTERNAL = [
    *("10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "0.0.0.0", "169.254.169.254"),
    *("100.64.0.1", "192.0.0.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1"),
    *("::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "::a00:1"),
    *("64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::1", "2002:a00:1::"),
    *("2002:7f00:1::1", "2001:0:a00:1::1", "2001:db8::1", "", "example.com", "1", "0x7f.1"),
    *("64:ff9b:1:a00:0:100:808:808", "64:ff9b:1::8.8.8.8", "168.63.129.16"),
    *("::ffff:0:127.0.0.1", "::ffff:0:a9fe:a9fe", "192.0.0.8", "3fff::1", "5f00::1"),
]


@pytest.mark.parametrize("address", INTERNAL)
def test_internal_addresses_are_not_reached(address):
    """Private, local, reserved and multicast addresses are internal, also inside others."""
    assert not may_be_reached(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
)
def test_public_addresses_are_reached(address):
    """An address of the public internet may be reached."""
    assert may_be_reached(address)


def test_allowed_networks():
    """An internal address in an allowed network may be reached, and no other."""
    allowed = networks("", ["10.1.0.0/16", "::1/128"])
    assert may_be_reached("10.1.2.3", allowed)
    assert may_be_reached("::1", allowed)
    assert not may_be_reached("10.2.0.1", allowed)


def test_a_local_nat64_prefix_can_be_allowed():
    """A host with DNS64 may use an own prefix, and authz does not judge what is embedded there."""
    allowed = networks("", ["64:ff9b:1::/96"])
    assert may_be_reached("64:ff9b:1::8.8.8.8", allowed)
    assert not may_be_reached("64:ff9b:1:1::8.8.8.8", allowed)
