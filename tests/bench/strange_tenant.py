"""The time of answers about keys of another tenant, beside those about keys that do not exist.

    python -m tests.bench.strange_tenant [--rounds 3000]

An issuer of one tenant asks for a key of another tenant and for a kid of nobody, in turn, over gRPC
on loopback: the best place for a listener. The figure is the share of pairs in which the answer
about the other tenant was later (0.5: time tells nothing), and the difference of the medians.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import grpc

from authz.core.roles import Role
from authz.rpc.pb.admin.v1 import keys_pb2, limits_pb2, tokens_pb2, usage_pb2
from authz.wiring import administration
from tests.bench.figures import machine
from tests.support.real import Valkey
from tests.support.rpc.admin import Stubs, admin_rig, admin_settings

NOBODY: Final = "0" * 16
Call = Callable[[Stubs, str, str], Awaitable[Any]]
CALLS: Final[dict[str, Call]] = {
    "Keys.GetKey": lambda s, kid, _: s.keys.GetKey(keys_pb2.GetKeyRequest(name=f"keys/{kid}")),
    "Keys.RevokeKey": lambda s, kid, _: s.keys.RevokeKey(
        keys_pb2.RevokeKeyRequest(name=f"keys/{kid}")
    ),
    "Keys.RotateKey": lambda s, kid, _: s.keys.RotateKey(
        keys_pb2.RotateKeyRequest(name=f"keys/{kid}")
    ),
    "Keys.VerifyKey": lambda s, _, text: s.keys.VerifyKey(keys_pb2.VerifyKeyRequest(api_key=text)),
    "Limits.GetKeyLimits": lambda s, kid, _: s.limits.GetKeyLimits(
        limits_pb2.GetKeyLimitsRequest(name=f"keys/{kid}/limits")
    ),
    "Usage.GetLatestUse": lambda s, kid, _: s.usage.GetLatestUse(
        usage_pb2.GetLatestUseRequest(name=f"keys/{kid}/latestUse")
    ),
    "Tokens.IssueToken": lambda s, _, text: s.tokens.IssueToken(
        tokens_pb2.IssueTokenRequest(api_key=text)
    ),
}


async def seconds(call: Awaitable[Any]) -> float:
    """Return how long a call took, refused or not."""
    began = time.perf_counter()
    with suppress(grpc.RpcError):
        await call
    return time.perf_counter() - began


def later(first: list[float], second: list[float]) -> float:
    """Return the share of pairs in which that of `first` is greater; equal ones count half."""
    ordered, count = sorted(second), 0.0
    for one in first:
        count += (bisect_left(ordered, one) + bisect_right(ordered, one)) / 2
    return count / (len(first) * len(second))


async def measure(rounds: int) -> None:
    """Print the figures of each method."""
    with Valkey() as valkey, tempfile.TemporaryDirectory() as directory:
        settings = admin_settings(valkey, Path(directory), calls_per_second=100_000)
        async with admin_rig(settings) as rig:
            kid, text = await rig.issue(["a:b"], tenant_id="south")
            minted = administration.keyring(settings).mint("live", NOBODY)
            stubs = await rig.caller(Role.ISSUER, tenant_id="north")
            for name, call in CALLS.items():
                number = rounds if name != "Tokens.IssueToken" else rounds // 20  # 0.1 s each
                theirs, nobody = list[float](), list[float]()
                for _ in range(number):
                    theirs.append(await seconds(call(stubs, kid, text)))
                    nobody.append(await seconds(call(stubs, NOBODY, minted.text)))
                difference = statistics.median(theirs) - statistics.median(nobody)
                print(
                    f"{name}: later in {later(theirs, nobody):.3f} of pairs, medians "
                    f"{difference * 1e6:+.0f} us of {statistics.median(nobody) * 1e3:.2f} ms"
                )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3000)
    given = parser.parse_args()
    print(machine())
    asyncio.run(measure(given.rounds))


if __name__ == "__main__":
    main()
