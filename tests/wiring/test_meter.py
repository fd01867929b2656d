"""The meter as a process, and the settings that it refuses."""

import asyncio
import json
import signal
import subprocess
import sys
import urllib.request
from contextlib import asynccontextmanager

import grpc
import pytest

from authz.core.errors import BadInput
from authz.core.usage.counts import Level
from authz.core.usage.events import MeterEvent
from authz.settings.model import Settings
from authz.storage import schema
from authz.storage.usage.stored_usage import StoredUsage
from authz.telemetry.meter_catalogue import COUNTED, METER_METRICS
from authz.wiring.meter import meter_process, read_tokens
from tests.support.metering import MeterProcess, batch, export
from tests.support.real import RealClock, eventually
from tests.support.usage import KID, line

TLS = {"cert": "cert.pem", "key": "key.pem"}


def entry():
    """Return an entry of a request that has just ended."""
    return line(started=RealClock().wall_ms(), milliseconds="0")


async def requests(valkey) -> int:
    """The number of requests of the key that the store has."""
    async with valkey.endpoint.client() as client:
        day = RealClock().wall_ms() // 86_400_000
        found = await StoredUsage(client).counts(KID, Level.DAY, range(day - 1, day + 1))
    return sum(counts.requests for counts in found.values())


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"listen": "0.0.0.0:0"}, "in the clear"),
        ({"listen": "0.0.0.0:0", "allow_plaintext": True}, "any machine could send"),
        ({"listen": "0.0.0.0:0", "tls": TLS}, "any machine could send"),
    ],
)
async def test_listeners_for_strangers_are_refused(given, problem):
    """Beyond loopback a meter needs encryption, or a mesh, and proof of the sender."""
    with pytest.raises(BadInput, match=problem) as caught:
        async with meter_process(Settings.parse({"meter": given})):
            pass
    assert caught.value.field == "meter.listen"


@pytest.mark.parametrize("text", ["", "  \n", "short", "é" * 30])
def test_tokens_that_are_refused(text, tmp_path):
    """A token file has long tokens in ASCII; none is shown in the error."""
    file = tmp_path / "token"
    file.write_text(text)
    settings = Settings.parse({"meter": {"token_file": str(file)}})
    with pytest.raises(BadInput, match="at least 16 ASCII") as caught:
        read_tokens(settings)
    assert text.strip() == "" or text not in str(caught.value)
    file.unlink()
    with pytest.raises(BadInput, match="No such file"):
        read_tokens(settings)


def test_every_event_has_a_series_of_its_own():
    """Each event of a meter has an existing series that no other event shares."""
    assert set(COUNTED) == set(MeterEvent)
    for metric, labels in COUNTED.values():
        assert metric in METER_METRICS
        assert labels in metric.series
    assert len({str(where) for where in COUNTED.values()}) == len(COUNTED)


@asynccontextmanager
async def running(valkey):
    """A meter in this process."""
    ours = {"listen": "127.0.0.1:0", "ops_listen": "127.0.0.1:0", "commit_interval": "10ms"}
    settings = Settings.parse({"meter": ours, "redis": {"url": valkey.url}})
    async with meter_process(settings) as meter:
        yield meter


async def get(meter, path: str) -> str:
    """Return the text of an operations path."""
    url = f"http://{meter.operations}{path}"

    def read() -> str:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.read().decode()

    return await asyncio.to_thread(read)


async def test_a_meter_waits_for_its_store(valkey):
    """Without authz:meta the meter is not ready and takes nothing; metrics and health say so."""
    async with running(valkey) as meter:
        reason = lambda: meter.readiness.report()[1]["store"]["reason"]  # noqa: E731
        await eventually(lambda: "authz init" in reason())
        assert not meter.readiness()
        assert '"ok"' in await get(meter, "/healthz")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await export(meter.listen, batch(entry()))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        valkey.admin.hset(schema.DEFAULT.meta, "schema", "1")
        await eventually(meter.readiness)
        await export(meter.listen, batch(entry(), b"garbage"))
        page = await get(meter, "/metrics")
        assert 'authz_meter_entries_total{result="counted"} 1.0' in page
        assert 'authz_meter_entries_refused_total{cause="version"} 1.0' in page
        assert "authz_meter_ready 1.0" in page
        for metric in METER_METRICS:
            assert metric.samples[0] in page
    assert await requests(valkey) == 1


async def test_a_store_that_is_emptied(valkey):
    """Nothing is written into a store without authz:meta, also while the link is open."""
    valkey.admin.hset(schema.DEFAULT.meta, "schema", "1")
    async with running(valkey) as meter:
        await eventually(meter.readiness)
        valkey.admin.flushall()
        call = asyncio.create_task(export(meter.listen, batch(entry())))
        await eventually(lambda: not meter.readiness())
        assert valkey.admin.dbsize() == 0
        valkey.admin.hset(schema.DEFAULT.meta, "schema", "1")
        assert await call == b""
    assert await requests(valkey) == 1


async def test_two_meters_on_one_store(valkey):
    """A batch that both meters get counts once."""
    valkey.admin.hset(schema.DEFAULT.meta, "schema", "1")
    raw = batch(entry(), entry())
    async with running(valkey) as one, running(valkey) as two:
        await eventually(lambda: one.readiness() and two.readiness())
        await asyncio.gather(export(one.listen, raw), export(two.listen, raw))
    assert await requests(valkey) == 2
    assert (
        one.counters.events[MeterEvent.BATCH_REPEATED]
        + two.counters.events[MeterEvent.BATCH_REPEATED]
        <= 1
    )


async def test_the_end_of_a_meter(own_valkey, tmp_path):
    """After SIGTERM a meter commits and confirms all that it has taken, and exits with 0."""
    own_valkey.admin.hset(schema.DEFAULT.meta, "schema", "1")
    with MeterProcess(tmp_path, own_valkey.url, commit_interval="5s") as meter:
        await eventually(meter.is_ready, 100)
        sent = [asyncio.create_task(export(meter.listen, batch(entry()))) for _ in range(3)]
        await eventually(lambda: meter.components()["batches"]["waiting"] == 3)
        meter.tell(signal.SIGTERM)
        assert await asyncio.gather(*sent) == [b""] * 3
        assert await asyncio.to_thread(meter.wait) == 0
    assert await requests(own_valkey) == 3


async def test_a_log_is_followed(valkey, tmp_path):
    """Lines of a log count once, also by a second meter that continues at the position."""
    valkey.admin.hset(schema.DEFAULT.meta, "schema", "1")
    file, cursor = tmp_path / "usage.log", tmp_path / "cursor"
    settings = Settings.parse(
        {
            "redis": {"url": valkey.url},
            "meter": {"listen": "127.0.0.1:0", "ops_listen": "127.0.0.1:0"},
        }
    )
    for count in (2, 5):
        with file.open("ab") as out:
            out.writelines(entry() + b"\n" for _ in range(count))
        async with meter_process(settings, (file, cursor)):

            async def is_read():
                return json.loads(cursor.read_text() or "{}").get("offset") == file.stat().st_size

            await eventually(cursor.exists)
            await eventually(is_read)
    assert await requests(valkey) == 7


def test_a_cursor_that_cannot_be_used_ends_the_meter(valkey, tmp_path):
    """The process ends with one line, rather than to run on without its log."""
    (tmp_path / "cursor").write_text("[]")
    process = MeterProcess(tmp_path, valkey.url)
    command = [sys.executable, "-m", "authz.cli.main", "--config", str(process.file), "meter"]
    command += ["--tail", str(tmp_path / "usage.log"), "--cursor", str(tmp_path / "cursor")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "no position; remove it to read the log from its beginning" in done.stderr
    assert "Traceback" not in done.stderr
