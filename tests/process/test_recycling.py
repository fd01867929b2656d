"""A process that has grown ends once, and not soon after its start."""

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from authz.process import recycling
from authz.settings import model
from authz.wiring import serving
from authz.wiring.file_changes import FileChanges
from tests.support.real import PATIENCE


@pytest.fixture
def quick(monkeypatch):
    """Time passes at once. `sizes`: measured sizes; `slept`: waited times."""
    found = SimpleNamespace(sizes=[], slept=[])

    async def sleep(seconds):
        found.slept.append(seconds)

    monkeypatch.setattr(recycling.asyncio, "sleep", sleep)
    monkeypatch.setattr(recycling, "resident_mib", lambda: found.sizes.pop(0))
    return found


@pytest.mark.parametrize(("jitter", "ends_at"), [(0.0, 101), (1.0, 111)])
async def test_it_waits_until_the_limit_is_exceeded(quick, monkeypatch, jitter, ends_at):
    """The limit is raised by up to a tenth, so that not all sidecars end at once."""
    monkeypatch.setattr(recycling.random, "random", lambda: jitter)
    quick.sizes = [50, 99, 100, 101, 110, 111]

    assert await recycling.outgrown(100) == ends_at
    assert quick.slept[0] == recycling.YOUTH
    assert set(quick.slept[1:]) == {recycling.LOOK}


def test_memory_is_what_the_system_says():
    """The resident memory is in MiB."""
    before = recycling.resident_mib()
    held = bytearray(b"x") * (64 << 20)

    assert recycling.resident_mib() >= before + 60
    assert len(held) > 0


def test_a_system_that_does_not_say_never_recycles(monkeypatch, tmp_path):
    """Without a size of the process it is never recycled."""
    monkeypatch.setattr(recycling, "_STATM", tmp_path / "statm")

    assert recycling.resident_mib() == 0


@pytest.fixture
def no_sidecar(monkeypatch):
    """Replace the sidecar of `serve` by an empty one."""

    async def drained(_ending):
        pass

    @asynccontextmanager
    async def nothing(_settings, _read):
        yield SimpleNamespace(
            settings=None,
            server=SimpleNamespace(address="x"),
            operations="y",
            readiness=SimpleNamespace(leaving=""),
            drain=drained,
        )

    monkeypatch.setattr(serving, "sidecar", nothing)


async def test_a_grown_sidecar_stops_in_an_orderly_way(no_sidecar, monkeypatch, caplog):
    """A grown sidecar stops as after SIGTERM, with a line about its size."""

    async def outgrown(limit):
        return limit + 7

    monkeypatch.setattr(serving, "outgrown", outgrown)
    caplog.set_level("INFO")

    await asyncio.wait_for(serving._serve(settings(512), unread, FileChanges(list)), PATIENCE)

    assert "stopping: 519 MiB are more than check.recycle_at_mib" in caplog.messages


async def test_without_the_setting_nothing_looks(no_sidecar, monkeypatch, caplog):
    """By default the size is not measured, and SIGTERM ends the process."""
    monkeypatch.setattr(serving, "outgrown", None)
    caplog.set_level("INFO")
    running = asyncio.create_task(serving._serve(settings(0), unread, FileChanges(list)))
    while not any(line.startswith("serving") for line in caplog.messages):
        await asyncio.sleep(0)

    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, PATIENCE)

    assert "stopping: SIGTERM" in caplog.messages


def unread():
    """Read the settings again: without SIGHUP nobody does."""
    raise AssertionError("read again")


def settings(limit):
    """Return the default settings with this limit."""
    flags = {"check": {"recycle_at_mib": limit}, "shutdown": {"delay": "0"}}
    return model.load(flags=flags, environ={})
