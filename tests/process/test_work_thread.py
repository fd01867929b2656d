"""A thread for calls that may hang for ever."""

import asyncio
import subprocess
import sys
import threading
import weakref
from contextlib import suppress

import pytest

from authz.process.work_thread import WorkThread
from tests.support.real import PATIENCE, eventually

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


class Hanging:
    """A call that waits until it is released."""

    def __init__(self):
        self.began, self.released, self.is_over = threading.Event(), threading.Event(), False

    def __call__(self):
        """Hang."""
        self.began.set()
        self.released.wait(PATIENCE)
        self.is_over = True


class Failing:
    """A call that fails."""

    def __call__(self):
        """Fail."""
        raise ValueError("no")


def test_a_process_ends_while_the_disk_of_a_delivery_hangs(tmp_path):
    """The process does not wait for the file that is being written. The next one is refused."""
    words = [sys.executable, "-c", HANGING_DISK, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "not written within 0.1 s" in done.stdout
    assert "an earlier write still hangs" in done.stdout


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
    thread, seen, hanging = WorkThread("tests"), [], Hanging()
    waiting = [thread.begin(hanging), thread.begin(lambda: seen.append("left out"))]
    last = thread.begin(lambda: seen.append("last"))
    await asyncio.to_thread(hanging.began.wait, PATIENCE)
    for one in waiting:
        one.cancel()
    await asyncio.sleep(0)  # the loop tells the thread
    hanging.released.set()
    await asyncio.wait_for(last, PATIENCE)
    assert (hanging.is_over, seen) == (True, ["last"])
    for one in waiting:
        with pytest.raises(asyncio.CancelledError):
            await one


async def test_a_call_is_refused_while_a_given_up_one_runs():
    """Calls behind one that hangs for days would fill the memory. After its end calls are made."""
    thread, hanging = WorkThread("tests"), Hanging()
    given_up = thread.begin(hanging)
    await asyncio.to_thread(hanging.began.wait, PATIENCE)
    behind = thread.begin(lambda: None)  # the running call may still end in time
    assert behind is not None
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(given_up, 0)
    assert thread.begin(lambda: None) is None
    hanging.released.set()
    await asyncio.wait_for(behind, PATIENCE)
    await asyncio.wait_for(thread.begin(lambda: None), PATIENCE)


async def test_the_waiting_thread_holds_no_call():
    """A call may have a secret. It is free after its end, also if it was left out."""
    thread, hanging, other = WorkThread("tests"), Hanging(), Hanging()
    other.released.set()
    running, left_out = thread.begin(hanging), thread.begin(other)
    calls = [weakref.ref(hanging), weakref.ref(other)]
    await asyncio.to_thread(hanging.began.wait, PATIENCE)
    left_out.cancel()
    await asyncio.sleep(0)  # the loop tells the thread
    hanging.released.set()
    await running
    del hanging, other
    await eventually(lambda: [one() for one in calls] == [None, None])
    failing = Failing()
    calls = [weakref.ref(failing)]
    with suppress(ValueError):
        await thread.begin(failing)
    del failing
    await eventually(lambda: calls[0]() is None)
