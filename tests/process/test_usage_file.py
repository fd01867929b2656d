"""UsageFile hands each line on exactly once, over rotations, crashes and a meter that is away."""

import asyncio
import contextlib
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.errors import BadInput
from authz.process.usage_file import UsageFile
from tests.support.real import eventually

QUICK = {"pause": 0.001, "settled": 0.004}


class Meter:
    """Counts each named batch once. `crash`: the next batch is counted and not confirmed."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.known: set[bytes] = set()
        self.crash = False

    async def deliver(self, name: bytes, lines: Sequence[bytes]) -> bool:
        """Count a batch."""
        if name not in self.known:
            self.known.add(name)
            self.lines += lines
        if self.crash:
            await asyncio.Event().wait()
        return True


class Log:
    """A log file that numbers its lines."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "usage.log"
        self.cursor = directory / "usage.log.cursor"
        self.count = itertools.count()
        self.written: list[bytes] = []
        self.renamed = itertools.count(1)
        self.out = self.file.open("ab", buffering=0)

    def write(self, lines: int) -> None:
        """Append lines."""
        for number in itertools.islice(self.count, lines):
            self.written.append(b"line %d" % number)
            self.out.write(self.written[-1] + b"\n")

    def rename(self) -> None:
        """Rename the file as logrotate does: usage.log.1 is the youngest."""
        renamed = sorted(self.file.parent.glob("usage.log.[0-9]*"), reverse=True)
        for file in renamed:
            file.rename(file.with_suffix(f".{int(file.suffix[1:]) + 1}"))
        self.file.rename(f"{self.file}.1")

    def reopen(self) -> None:
        """Write to a new file from now on."""
        self.out.close()
        self.out = self.file.open("ab", buffering=0)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """A log file."""
    made = Log(tmp_path)
    yield made
    made.out.close()


@contextlib.asynccontextmanager
async def following(log: Log, meter: Meter, **more):
    """Follow a log until the block ends, as suddenly as a crash."""
    task = asyncio.create_task(UsageFile(log.file, log.cursor, meter.deliver, **QUICK | more).run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_lines_are_handed_on_as_they_come(log: Log):
    """A line without its line feed waits."""
    meter = Meter()
    async with following(log, meter):
        log.write(3)
        await eventually(lambda: meter.lines == log.written)
        log.out.write(b"line ")
        log.written.append(b"line end")
        await asyncio.sleep(0.01)
        assert meter.lines == log.written[:-1]
        log.out.write(b"end\n")
        await eventually(lambda: meter.lines == log.written)


async def test_a_file_that_comes_later_is_waited_for(log: Log):
    """The proxy may start after the meter."""
    meter = Meter()
    log.file.unlink()
    async with following(log, meter):
        await asyncio.sleep(0.005)
        log.reopen()
        log.write(1)
        await eventually(lambda: meter.lines == log.written)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
async def test_a_file_that_cannot_be_read_is_named(log: Log, caplog, make):
    """One warning says why nothing is counted. It counts once there is a log."""
    meter = Meter()
    log.file.unlink()
    async with following(log, meter):
        await eventually(lambda: "No such file or directory" in caplog.text)
        make(log.file)
        await eventually(lambda: "not a regular file" in caplog.text)
        log.file.rename(log.file.with_name("other"))
        log.reopen()
        log.write(1)
        await eventually(lambda: meter.lines == log.written)
    assert caplog.text.count("not a regular file") == 1


async def test_a_directory_beside_the_log_is_not_followed(log: Log):
    """A name as that of a renamed log may be another thing."""
    meter = Meter()
    async with following(log, meter):
        log.write(1)
        await eventually(lambda: meter.lines == log.written)
        log.rename()
        log.file.with_name("usage.log-old").mkdir()
        log.reopen()
        log.write(1)
        await eventually(lambda: meter.lines == log.written)


async def test_a_place_without_room_for_the_cursor_is_refused(log: Log):
    """The meter does not find out only when the first line comes."""
    cursor = log.file.parent / "none" / "cursor"
    with pytest.raises(BadInput, match=r"--cursor: .*none: no directory to write into"):
        await UsageFile(log.file, cursor, Meter().deliver).run()


async def test_a_lost_file_is_reported_once(log: Log, caplog):
    """Also if there is no file yet."""
    meter = Meter()
    log.cursor.write_text(json.dumps({"device": 1, "inode": 1, "offset": 5, "end": 5}))
    log.file.unlink()
    async with following(log, meter):
        await asyncio.sleep(0.02)
        log.reopen()
        log.write(1)
        await eventually(lambda: meter.lines == log.written)
    assert caplog.text.count("usage may be missing") == 1


async def test_a_renamed_file_is_read_to_its_end(log: Log):
    """The proxy writes to the renamed file until it reopens its logs."""
    meter = Meter()
    async with following(log, meter, settled=0.2):
        log.write(2)
        await eventually(lambda: meter.lines == log.written)
        log.rename()
        log.file.touch()
        log.write(2)
        await eventually(lambda: meter.lines == log.written)
        log.reopen()
        log.write(2)
        await eventually(lambda: meter.lines == log.written)


async def test_a_shorter_file_is_read_from_its_beginning(log: Log):
    """Some tools copy a log and truncate it."""
    meter = Meter()
    async with following(log, meter):
        log.write(5)
        await eventually(lambda: meter.lines == log.written)
        os.truncate(log.file, 0)
        log.write(2)
        await eventually(lambda: meter.lines == log.written)


async def test_a_batch_that_was_not_confirmed_is_the_same_batch_again(log: Log):
    """After a crash the range is the same although the file has grown, so it counts once."""
    meter = Meter()
    meter.crash = True
    log.write(2)
    async with following(log, meter):
        await eventually(lambda: meter.lines == log.written)
    log.write(3)
    meter.crash = False
    async with following(log, meter):
        await eventually(lambda: len(meter.lines) >= 5)
    assert meter.lines == log.written


async def test_a_cursor_that_moves_before_the_confirmation_loses_lines(log: Log, monkeypatch):
    """A mutant without the range of the open batch is caught by a crash."""
    meter = Meter()
    save = UsageFile._save
    monkeypatch.setattr(
        UsageFile,
        "_save",
        lambda self, at: save(self, type(at)(at.device, at.inode, at.end, at.end)),
    )

    async def lost(_name: bytes, _lines: Sequence[bytes]) -> bool:
        await asyncio.Event().wait()
        return True

    log.write(2)
    monkeypatch.setattr(meter, "deliver", lost)
    async with following(log, meter):
        await eventually(log.cursor.exists)
    monkeypatch.undo()
    log.write(1)
    async with following(log, meter):
        await eventually(lambda: log.written[-1] in meter.lines)
    assert meter.lines != log.written


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(["write", "rotate", "crash", "restart"]), max_size=12),
    st.integers(20, 200),
)
def test_each_line_counts_once(tmp_path_factory, steps, max_batch):
    """Writes, rotations and crashes in any order; several rotations while nobody follows."""

    async def run() -> None:
        log, meter = Log(tmp_path_factory.mktemp("log")), Meter()
        stack = contextlib.AsyncExitStack()
        log.write(1)
        await stack.enter_async_context(following(log, meter, max_batch=max_batch))
        await eventually(lambda: meter.lines == log.written)  # it begins with the present file
        for step in steps:
            log.write(3)
            if step == "rotate":
                log.rename()
                log.reopen()
            elif step == "crash":
                meter.crash = True
            elif step == "restart":
                await stack.aclose()
                meter.crash = False
                log.write(2)
                await stack.enter_async_context(following(log, meter, max_batch=max_batch))
            await asyncio.sleep(0.006)  # longer than a tick of file times
        await stack.aclose()
        meter.crash = False
        log.write(1)
        async with following(log, meter, max_batch=max_batch):
            await eventually(lambda: log.written[-1] in meter.lines)
        assert meter.lines == log.written
        log.out.close()

    asyncio.run(run())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"device": 1}', json.dumps({"device": -1})])
async def test_a_cursor_without_a_position_is_refused(log: Log, text: str):
    """One line says what to do."""
    log.cursor.write_text(text)
    with pytest.raises(BadInput, match="remove it to read the log from its beginning"):
        await UsageFile(log.file, log.cursor, Meter().deliver).run()


async def test_a_lost_file_is_reported(log: Log, caplog):
    """If the file of the position was deleted, the present one is read from its beginning."""
    meter = Meter()
    position = {"device": 1, "inode": 1, "offset": 5, "end": 5}
    log.cursor.write_text(json.dumps(position))
    log.write(1)
    async with following(log, meter):
        await eventually(lambda: meter.lines == log.written)
    assert "usage may be missing" in caplog.text


async def test_a_line_without_an_end_does_not_stop_the_log(log: Log):
    """Text of a whole batch without a line feed is handed on, for the reader to refuse it."""
    meter = Meter()
    async with following(log, meter, max_batch=32):
        log.out.write(b"x" * 40 + b"\n")
        log.write(1)
        await eventually(lambda: meter.lines[-1:] == log.written)
