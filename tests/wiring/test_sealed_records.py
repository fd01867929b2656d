"""Whole sidecars and commands on a store that somebody without the pepper writes to."""

import asyncio
import urllib.request

from authz.storage import schema
from tests.support.cli.terminal import run
from tests.support.rpc.answers import arm
from tests.support.rpc.messages import check_request
from tests.support.rpc.servers import ask
from tests.support.serving import Serving, prepared
from tests.support.storage import stored
from tests.support.storage.altering import altered_fields, packed


async def status_of(sidecar, text):
    """Return the HTTP status of a Check with this key; 200 for an allow."""
    answer = await ask(sidecar.check, check_request([("x-api-key", text)]))
    return 200 if answer.HasField("ok_response") else arm(answer).status.code


def failures(sidecar, *reasons):
    """Return how many records that may not be used the sidecar counted, of these reasons."""
    with urllib.request.urlopen(f"{sidecar.ops}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    names = tuple(f'authz_key_lookup_failures_total{{reason="{reason}"}}' for reason in reasons)
    return sum(float(line.split()[-1]) for line in lines if line.startswith(names))


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
        assert failures(sidecar, "bad_seal") == 1
        assert f"record {bad.record.kid}: its seal is wrong" in sidecar.log.read_text()
    report = await asyncio.to_thread(run, *command, "doctor", "--json")
    (seals,) = [one for one in report.document["findings"] if one["check"] == "seals"]
    assert seals["level"] == "fail"


async def test_a_sample_of_altered_compact_records(tmp_path, valkey):
    """One key for each field and for each kind of damage: 503, counted, logged and found."""
    sidecar = Serving(tmp_path, valkey)
    await prepared(sidecar.file, keys=0)
    valkey.admin.hset(stored.META, schema.META_COMPACT, schema.ALL_COMPACT)
    good, other = await prepared(sidecar.file, keys=2)
    fields = stored.fields(valkey.admin, good.record.kid)
    names = sorted({*fields, "new"})
    bad = await prepared(sidecar.file, keys=len(names) + 4, scopes=frozenset({"a:b"}))
    foreign, altered = stored.fields(valkey.admin, other.record.kid), []
    for name, key in zip(names, bad, strict=False):
        right = stored.fields(valkey.admin, key.record.kid)
        mutants = [text for one, text in packed(altered_fields(right, foreign)) if one == name]
        altered.append((key, mutants[-1]))
    for key, text in altered:
        valkey.admin.set(stored.key(key.record.kid), text)
    *_, longer, empty, listed, swapped = bad
    valkey.admin.append(stored.key(longer.record.kid), "x")
    valkey.admin.set(stored.key(empty.record.kid), "")
    valkey.admin.delete(stored.key(listed.record.kid))
    valkey.admin.rpush(stored.key(listed.record.kid), "text")
    valkey.admin.copy(stored.key(good.record.kid), stored.key(swapped.record.kid), replace=True)
    with sidecar:
        sidecar.wait_until_ready()
        assert [await status_of(sidecar, key.key_text) for key in (good, other)] == [200, 200]
        found = {key.record.kid: await status_of(sidecar, key.key_text) for key in bad}
        assert found == dict.fromkeys(found, 503)
        assert failures(sidecar, "bad_seal", "unreadable") == len(bad)
        log = sidecar.log.read_text()
        assert any(f"record {kid}: " in log for kid in found)  # lines are bounded
    report = await asyncio.to_thread(run, "--config", str(sidecar.file), "doctor", "--json")
    findings = {one["check"]: one for one in report.document["findings"]}
    about = [findings[check] for check in ("seals", "records")]
    assert {one["level"] for one in about} == {"fail"}
    assert all(any(f"record {kid}: " in one["found"] for kid in found) for one in about)
    assert sum(int(one["found"].split()[0]) for one in about) == len(bad)
