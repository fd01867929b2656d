"""A thread for calls that may hang for ever."""

import asyncio
import subprocess
import sys
import threading

import pytest

from authz.process.work_thread import WorkThread
from tests.support.real import PATIENCE

HANGING_DISK = """
import asyncio, os, sys
from pathlib import Path
from authz.core.delivery import Parcel
from authz.core.errors import Unavailable
from authz.process.secret_targets import DirectoryTarget
from tests.process.test_secret_targets import parcel

os.fsync = lambda _descriptor: os.read(os.pipe()[0], 1)

async def main():
    target = DirectoryTarget(Path(sys.argv[1]), seconds=0.1)
    for _ in range(2):
        try:
            await target.deliver(parcel())
        except Unavailable as cause:
            print(cause, flush=True)

asyncio.run(main())
"""


def test_a_process_ends_while_the_disk_of_a_delivery_hangs(tmp_path):
    """The process waits neither for the file that is being written nor for the next one."""
    words = [sys.executable, "-c", HANGING_DISK, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("not written within 0.1 s") == 2


async def test_calls_in_order():
    """Each call comes after the one before it, in one thread, and an error goes to its caller."""
    thread, seen = WorkThread("tests"), []

    def fail():
        raise ValueError("no")

    calls = [lambda: seen.append((1, threading.get_ident())), fail]
    calls += [lambda: seen.append((2, threading.get_ident()))]
    done = await asyncio.gather(*map(thread.begin, calls), return_exceptions=True)
    assert [str(one) for one in done] == ["None", "no", "None"]
    assert [number for number, _ in seen] == [1, 2]
    assert len({ident for _, ident in seen} - {threading.get_ident()}) == 1


async def test_a_call_that_nobody_waits_for_is_left_out():
    """A cancelled call that has not begun never begins. One that has begun ends alone."""
    thread, seen = WorkThread("tests"), []
    began, released = threading.Event(), threading.Event()

    def hang():
        began.set()
        released.wait(PATIENCE)
        seen.append("hung")

    waiting = [thread.begin(hang), thread.begin(lambda: seen.append("left out"))]
    await asyncio.to_thread(began.wait, PATIENCE)
    for one in waiting:
        one.cancel()
    await asyncio.sleep(0)  # the loop tells the thread
    last = thread.begin(lambda: seen.append("last"))
    released.set()
    await asyncio.wait_for(last, PATIENCE)
    assert seen == ["hung", "last"]
    for one in waiting:
        with pytest.raises(asyncio.CancelledError):
            await one
