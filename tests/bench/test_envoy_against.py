"""Envoy and gate are measured against another configuration with real processes."""

import os

from authz.cli.devstack import Ports
from authz.core.listen_address import Address
from tests.bench import envoy_against
from tests.bench.envoy_cost import ENVOY_YAML, SEVERAL


def test_each_round_has_the_costs_of_envoy_and_gate_for_both_files():
    """Two short rounds with the configuration of several sidecars. Each request is allowed."""
    cores = os.sched_getaffinity(0)
    try:
        found = envoy_against.measure(ENVOY_YAML, SEVERAL, rounds=2, calls=100)
    finally:
        os.sched_setaffinity(0, cores)
    assert [len(costs) for costs in found] == [2, 2]
    assert all(cost > 0 for costs in found for both in costs for cost in both)


def test_an_own_file_may_have_several_sidecars():
    """All endpoints of the cluster give way to the one gate that is measured."""
    ports = Ports.free()
    text = envoy_against.configuration(SEVERAL, ports, Address("127.0.0.1", ports.check))
    assert text.count(f"port_value: {ports.check}\n") == 1
    assert "pipe" in text  # of the meter, which is not asked
    assert "check.sock" not in text
