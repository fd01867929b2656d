"""The configurations that `make peers` compares."""

import uvloop

from authz.cli.devstack import Ports
from tests.bench import through_envoy
from tests.bench.peers.__main__ import built_in
from tests.support.real import eventually


def test_the_built_in_filter_knows_the_key():
    """Envoy's own filter takes a request with the key, and refuses one with another text."""
    ports = Ports.free()
    with through_envoy.envoy(built_in(ports, "a-key"), ports) as proxy:
        uvloop.run(eventually(lambda: through_envoy.is_allowed(proxy.address, "a-key")))
