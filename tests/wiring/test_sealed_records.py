"""Whole sidecars and commands on a store that somebody without the pepper writes to."""

import asyncio
import urllib.request

from tests.support.cli.terminal import run
from tests.support.rpc.answers import arm
from tests.support.rpc.messages import check_request
from tests.support.rpc.servers import ask
from tests.support.serving import Serving, prepared
from tests.support.storage import stored


async def status_of(sidecar, text):
    """Return the HTTP status of a Check with this key; 200 for an allow."""
    answer = await ask(sidecar.check, check_request([("x-api-key", text)]))
    return 200 if answer.HasField("ok_response") else arm(answer).status.code


def failures(sidecar):
    """Return how many records with a bad seal the sidecar counted."""
    with urllib.request.urlopen(f"{sidecar.ops}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    name = 'authz_key_lookup_failures_total{reason="bad_seal"}'
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


async def test_a_revoked_key_stays_dead_on_a_new_sidecar(tmp_path, valkey):
    """`HSET status active` gives 503, a metric and a log line; the good key goes on working."""
    sidecar = Serving(tmp_path, valkey)
    good, bad = await prepared(sidecar.file, keys=2)
    command = ("--config", str(sidecar.file))
    done = await asyncio.to_thread(run, *command, "keys", "revoke", bad.record.kid)
    assert done.code == 0
    valkey.admin.hset(stored.key(bad.record.kid), "status", "active")
    with sidecar:
        sidecar.wait_until_ready()
        assert await status_of(sidecar, good.key_text) == 200
        assert await status_of(sidecar, bad.key_text) == 503
        assert failures(sidecar) == 1
        assert f"record {bad.record.kid}: its seal is wrong" in sidecar.log.read_text()
    report = await asyncio.to_thread(run, *command, "doctor", "--json")
    (seals,) = [one for one in report.document["findings"] if one["check"] == "seals"]
    assert seals["level"] == "fail"
