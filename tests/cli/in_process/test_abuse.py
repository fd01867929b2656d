"""`authz abuse allow`."""

import pytest

from tests.support.cli.in_process import refusal


@pytest.mark.parametrize(
    ("given", "network"),
    [("203.0.113.7/24", "203.0.113.0/24"), ("2001:db8::7/64", "2001:db8::/64")],
)
def test_an_address_with_a_prefix(runner, given, network):
    """The refusal names the network that was meant."""
    line = refusal(runner.run("abuse", "allow", given), 2).rstrip()
    assert line.endswith(f"NETWORK: '{given}' is not an address block: its block is {network}")


@pytest.mark.parametrize(("network", "kind"), [("0.0.0.0/0", "IPv4"), ("::/0", "IPv6")])
def test_a_network_of_all_addresses(runner, network, kind):
    """A network of all addresses is allowed with a warning. Its end has no warning."""
    done = runner.run("abuse", "allow", network)
    warning = f"{network} is every {kind} address: no client with one is blocked any more"
    assert (done.code, done.out) == (0, f"{network} is allowed\n")
    assert done.err == f"warning: {warning}\n"
    assert runner.run("abuse", "allow", network, "--remove").err == ""
    assert runner.run("abuse", "allow", "203.0.113.0/24").err == ""
