"""Two sidecars on one store: failures block a client at both, and never a good key."""

import asyncio
import time

from tests.support.cli.terminal import run
from tests.support.rpc.answers import arm
from tests.support.rpc.messages import check_request
from tests.support.rpc.servers import ask
from tests.support.serving import PATIENCE, Serving, prepared

ADDRESS, BAD = "198.51.100.7", "ak_live_" + "x" * 30
SETTINGS = {"abuse": {"failures_per_minute": 20}, "cache": {"trust_lease": "4s"}}


async def status_of(sidecar, text, address=ADDRESS):
    """Return the HTTP status of a Check with this key; 200 for an allow."""
    answer = await ask(sidecar.check, check_request([("x-api-key", text)], peer=address))
    return 200 if answer.HasField("ok_response") else arm(answer).status.code


async def until(sidecar, wanted):
    """Ask until a failure from the address has this status."""
    deadline = time.monotonic() + PATIENCE
    while await status_of(sidecar, BAD) != wanted:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)


async def test_a_client_that_fails_too_often(tmp_path, valkey):
    """Its failures get 429 at both sidecars until it is cleared or allowed; its good key works."""
    one, other = Serving(tmp_path, valkey, SETTINGS), Serving(tmp_path, valkey, SETTINGS)
    (good,) = await prepared(one.file)
    command = ("--config", str(one.file), "abuse")
    with one, other:
        for sidecar in (one, other):
            await asyncio.to_thread(sidecar.wait_until_ready)
        first = [await status_of(one, BAD) for _ in range(30)]
        assert (first[0], first[-1]) == (401, 429)
        await until(other, 429)
        for sidecar in (one, other):
            assert await status_of(sidecar, good.key_text) == 200
            assert await status_of(sidecar, BAD, "198.51.100.8") == 401
        listed = (await asyncio.to_thread(run, *command, "list", "--json")).document
        assert [found["client"] for found in listed["blocked"]] == [ADDRESS]
        await asyncio.to_thread(run, *command, "clear", ADDRESS)
        await until(other, 401)
        await asyncio.to_thread(run, *command, "allow", "198.51.100.0/24")
        listed = (await asyncio.to_thread(run, *command, "list", "--json")).document
        assert [found["network"] for found in listed["allowed"]] == ["198.51.100.0/24"]
