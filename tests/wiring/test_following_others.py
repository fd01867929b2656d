"""A meter, the admin API and several sidecars of one command go on when the store is moved."""

import asyncio
import subprocess
import sys
import time
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import yaml

from authz.core.usage.counts import Level
from authz.settings import model
from authz.storage import schema
from authz.storage.usage.stored_usage import StoredUsage
from authz.wiring.partition_count import resolved
from tests.support.metered_partitions import COUNT, KIDS, line_of
from tests.support.metering import MeterProcess, batch, export
from tests.support.real import PATIENCE, RealClock, Valkey, eventually, free_port
from tests.support.serving import Serving, prepared
from tests.support.storage.moved_store import NEW, OLD, MovedStore

HOUR_MS = 3_600_000


async def counted(valkey: Valkey) -> list[int]:
    """Return the requests of the key of each partition."""
    day = RealClock().wall_ms() // 86_400_000
    found = []
    async with AsyncExitStack() as stack:
        for endpoint, kid in zip(
            replace(valkey.endpoint, count=COUNT).partitions(), KIDS, strict=True
        ):
            usage = StoredUsage(await stack.enter_async_context(endpoint.client()))
            counts = await usage.counts(kid, Level.DAY, range(day - 1, day + 1))
            found.append(sum(one.requests for one in counts.values()))
    return found


async def delivered(meter: MeterProcess, raw: bytes) -> None:
    """Send a batch again and again until it is confirmed, as Envoy does."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            await export(meter.listen, raw, seconds=5)
        except grpc.aio.AioRpcError:
            assert time.monotonic() < end
            await asyncio.sleep(0.1)
        else:
            return


async def test_a_meter_goes_on_with_the_partitions(tmp_path: Path, valkey: Valkey) -> None:
    """A batch that comes while the store moves is confirmed after the move, and counts once."""
    settings = Serving(tmp_path, valkey).file
    await prepared(settings)
    store = MovedStore(valkey, [])
    lines = [
        line_of(at, started=RealClock().wall_ms(), milliseconds="0") for at in range(len(KIDS))
    ]
    first, second = batch(*lines[:1]), batch(*lines[1:])
    with MeterProcess(tmp_path, valkey.url) as meter:
        await eventually(meter.is_ready)
        await export(meter.listen, first)
        store.announce()
        store.freeze()
        now = RealClock().wall_ms() // HOUR_MS
        for hour in range(now - 3, now + 24):  # as the move does it
            seen = f"{OLD.usage}seen:{hour}"
            valkey.admin.delete(seen)
            valkey.admin.rpush(seen, "the store is moving")
        delivering = asyncio.create_task(delivered(meter, second))
        await eventually(lambda: meter.components()["store"]["reason"])
        assert not delivering.done()
        store.complete()
        store.switch()
        await delivering
        assert "starting again with them" in meter.log.read_text()
        await delivered(meter, second)
    assert await counted(valkey) == [0] + [1] * (COUNT - 1)


@contextmanager
def admin_process(directory: Path, valkey: Valkey):
    """The admin API as a process. Yields the address of its HTTP listener, and its log."""
    file, log = directory / "admin.yaml", directory / "admin.log"
    http = f"127.0.0.1:{free_port()}"
    pepper = {"file": str(directory / "pepper")}
    own = {"listen": f"127.0.0.1:{free_port()}", "http_listen": http}
    redis = {"url": valkey.url}
    file.write_text(yaml.safe_dump({"redis": redis, "keys": {"peppers": [pepper]}, "admin": own}))
    command = [sys.executable, "-m", "authz.cli.main", "--config", str(file), "admin"]
    with log.open("wb") as output, subprocess.Popen(command, stderr=output) as process:
        try:
            yield http, log
        finally:
            process.kill()


async def test_the_admin_api_goes_on_with_the_partitions(tmp_path: Path, valkey: Valkey) -> None:
    """The admin API starts again by itself, and is ready with all partitions."""
    await prepared(Serving(tmp_path, valkey).file)
    with admin_process(tmp_path, valkey) as (http, log):
        probe = Serving(tmp_path, valkey)
        probe.ops = f"http://{http}"
        await eventually(probe.is_ready)
        MovedStore(valkey, []).move()
        await eventually(lambda: "starting again with them" in log.read_text())
        await eventually(lambda: log.read_text().count("serving the admin API") == 2)
        await eventually(probe.is_ready)


async def test_several_processes_follow_each(tmp_path: Path, valkey: Valkey) -> None:
    """Each process of `authz serve --processes 2` follows; none is started again."""
    check = {"listen": f"unix:{tmp_path}/check.sock"}
    sidecar = Serving(tmp_path, valkey, {"check": check}, ["--processes", "2"])
    keys = await prepared(sidecar.file)
    with sidecar:
        await eventually(sidecar.is_ready)
        MovedStore(valkey, keys).move()

        def partitions() -> list[object]:
            processes = sidecar.look()[1].get("components", {}).values()
            return [one.get("store", {}).get("partitions") for one in processes]

        await eventually(lambda: partitions() == [COUNT, COUNT])
        assert len(valkey.admin.zrange(NEW[0].sidecars, 0, -1)) == 2
        assert "starts again" not in sidecar.log.read_text()


async def test_settings_that_name_one_partition(tmp_path: Path, valkey: Valkey) -> None:
    """A store that was set up with several partitions is refused, and a moved one accepted."""
    file = Serving(tmp_path, valkey, {"redis": {"url": valkey.url, "partitions": 1}}).file
    await prepared(file)
    settings = model.load(file, environ={})
    assert (await resolved(settings)).redis.count == 1
    MovedStore(valkey, []).move()
    assert (await resolved(settings)).redis.count == COUNT
    valkey.admin.hdel(NEW[0].meta, schema.META_MOVED)
    assert (await resolved(settings)).redis.count == 1
    unset = settings.changed(redis=settings.redis.changed(partitions=None))
    assert (await resolved(unset)).redis.count == COUNT
    other = settings.changed(redis=settings.redis.changed(partitions=48))
    assert (await resolved(other)).redis.count == 48
