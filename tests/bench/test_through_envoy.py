"""Measure how long a client of a real Envoy waits."""

import uvloop

from authz.cli.devstack import Ports
from authz.core.listen_address import Address
from tests.bench import through_envoy
from tests.support.real import eventually, free_port


async def _answers(address: Address) -> bool:
    return await through_envoy.status(address, through_envoy.OPEN, "") == 200


def test_a_short_look_waits_for_one_answer():
    """A look that is over before the first answer still has the time of one request."""
    ports = Ports.free()
    wanted = through_envoy.configuration(ports, Address("127.0.0.1", free_port()))
    with through_envoy.envoy(wanted, ports) as proxy:
        uvloop.run(eventually(lambda: _answers(proxy.address)))
        _, microseconds = through_envoy.asked(proxy.address, through_envoy.OPEN, "", 1e-6)
    assert microseconds > 0
