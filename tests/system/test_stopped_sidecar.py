"""A sidecar stands still and runs again: Checks that Envoy has ended meanwhile are not charged."""

import signal
import time
from pathlib import Path

from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from hyperframe.frame import DataFrame, RstStreamFrame

from authz.core.limits.charge import SpendRequest, charge_for
from authz.core.limits.limit import parse_limits
from authz.core.listen_address import Address
from authz.rpc.h2.frames import ErrorCode
from authz.rpc.h2.protocol import TURN
from authz.storage.limits.spend_script import SPEND, arguments, spend_reply
from tests.spending.plans import make_terms
from tests.support.h2.wire import Wire, wired
from tests.support.real import Valkey, eventually
from tests.support.rpc.messages import check_request
from tests.support.serving import Serving, prepared

LIMIT = "100000/h"  # of which a sidecar leases units
CHECKS = 200


def used(valkey: Valkey, kid: str) -> int:
    """Return the units of LIMIT that the store has counted."""
    charge = charge_for(make_terms(LIMIT, kid=kid), 1, int(time.time() * 1000))
    count, *words = arguments(charge, SpendRequest(0))
    reply = spend_reply(charge, valkey.admin.eval(SPEND, int(count), *words))
    return charge.counters[0].limit - reply.left[0]


def state(pid: int) -> str:
    """Return the state of a process as one letter: T if it is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def is_allowed(wire: Wire, stream_id: int) -> bool:
    """Return whether the response on a stream allows the request."""
    answer = await wire.until(DataFrame, stream_id)
    return not CheckResponse.FromString(answer.data[5:]).status.code


async def test_checks_that_have_ended_are_not_charged(tmp_path: Path):
    """Checks and then their resets wait before a stopped sidecar, more bytes than it takes at once.

    It charges only those that nobody has reset.
    """
    listen = f"unix:{tmp_path}/check.sock"
    more = {"check": {"listen": listen}, "cache": {"trust_lease": "4s"}}
    with Valkey() as valkey:
        sidecar = Serving(tmp_path, valkey, more)
        (issued,) = await prepared(sidecar.file, limits=parse_limits("limits", (LIMIT,)))
        check = check_request([("x-api-key", issued.key_text or "")]).SerializeToString()
        with sidecar:
            await eventually(sidecar.is_ready)
            async with wired(Address.parse("", listen)) as wire:
                wire.greet()
                for stream_id in (1, 3):  # the first one brings the lease
                    wire.send(wire.call(stream_id, check))
                    assert await is_allowed(wire, stream_id)
                sidecar.tell(signal.SIGSTOP)
                await eventually(lambda: state(sidecar.pid) == "T")
                ids = range(5, 5 + 2 * CHECKS, 2)
                calls = [wire.call(stream_id, check) for stream_id in ids]
                ends = [RstStreamFrame(stream_id, ErrorCode.CANCEL) for stream_id in ids[:-1]]
                assert len(b"".join(calls)) > TURN
                wire.send(*calls, *ends)
                sidecar.tell(signal.SIGCONT)
                assert await is_allowed(wire, ids[-1])
            sidecar.tell(signal.SIGTERM)
            await eventually(sidecar.has_ended, 30)
            assert used(valkey, issued.record.kid) == 3
