"""A sidecar that stops returns its leases."""

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.rpc.services import CHECK_SERVICE
from authz.settings import model
from authz.wiring import many_keys
from tests.support.limits import limits
from tests.support.real import Valkey
from tests.support.rpc.messages import check_request
from tests.support.serving import Serving, prepared

AT_ONCE, ROUNDS = 40, 5


async def used(file: Path, kid: str) -> list[int]:
    """Return the use of each limit of a key."""
    async with many_keys.bulk_session(model.load(file, environ={})) as session:
        record = await session.keys.find(kid)
        assert record is not None
        standing = await session.limits.of(record)
    assert standing is not None
    return standing.used()


def test_what_did_not_come_is_not_used(tmp_path: Path, own_valkey: Valkey) -> None:
    """After a stop, the used units of a monthly quota equal the allowed requests."""
    process = Serving(tmp_path, own_valkey, {"check": {"deadline": "10s"}})
    wanted = {"limits": limits("1000000/month")}
    (issued,) = asyncio.run(prepared(process.file, **wanted))
    message = check_request([("x-api-key", issued.key_text)]).SerializeToString()
    with process, grpc.insecure_channel(process.check) as channel:
        process.wait_until_ready()
        check = channel.unary_unary(f"/{CHECK_SERVICE}/Check")

        def ask(_number: int) -> bool:
            return CheckResponse.FromString(check(message, timeout=20)).HasField("ok_response")

        with ThreadPoolExecutor(AT_ONCE) as threads:
            passed = sum(threads.map(ask, range(AT_ONCE * ROUNDS)))
        process.tell(signal.SIGTERM)
        assert process.wait() == 0

    assert passed == AT_ONCE * ROUNDS
    assert asyncio.run(used(process.file, issued.record.kid)) == [passed]
