"""Snapshot: its content survives a restart, and every reason to refuse a file."""

import asyncio
import contextlib
import errno
import fcntl
import hmac
import json
import logging
import os
import stat
import threading
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.errors import BadInput
from authz.core.events import Event
from authz.core.records import Status
from authz.storage import snapshot as module
from authz.storage import snapshot_writer as timing
from authz.storage.snapshot import Snapshot, SnapshotRefused
from authz.storage.snapshot_writer import SnapshotWriter, restore
from tests.support.fakes import (
    KID,
    FakeClock,
    RecordingProbe,
    issue_record,
    make_contents,
    make_keyring,
    make_record,
)
from tests.support.real import RealClock, eventually
from tests.support.storage.strategies import RECORDS

GRACE = 30.0
RECORD = make_record()


class Rig:
    """A file, and the clock of the process that writes and reads it."""

    def __init__(self, directory):
        self.path = directory / "snapshot"
        self.clock = FakeClock()
        self.probe = RecordingProbe()

    def open(self, *versions, boot="one", clock=None):
        """Open the snapshot as a process of this boot with these peppers."""
        return Snapshot(self.path, make_keyring("ak", *versions), clock or self.clock, boot)

    def write(self, *records, revoked=(), age=0.0, **how):
        """Write as a process that lost trust so many seconds ago."""
        held = make_contents(*records, revoked=revoked, last_trusted=self.clock.monotonic() - age)
        assert self.open(**how).write(held, "web-1")

    def refusal(self, *versions, **how):
        """Return the reason for a refusal."""
        with pytest.raises(SnapshotRefused) as caught:
            self.open(*versions, **how).read(GRACE)
        return str(caught.value)


@pytest.fixture
def rig(tmp_path):
    """A Rig in an empty directory."""
    return Rig(tmp_path)


@settings(max_examples=25)  # records are slow to make
@given(records=st.lists(RECORDS, max_size=3, unique_by=lambda r: r.kid))
def test_what_is_written_is_read(records, tmp_path_factory):
    """Every record is read as it was written."""
    rig = Rig(tmp_path_factory.mktemp("snapshot"))
    lasting = [replace(record, outage_grace=None) for record in records]
    rig.write(*lasting, revoked=[KID])

    kept = rig.open().read(GRACE)

    assert list(kept.contents.records()) == lasting
    assert (kept.contents.revoked, kept.contents.last_trusted) == ([KID], rig.clock.monotonic())
    assert kept.contents.aliases == []
    assert (kept.instance, kept.trouble) == ("web-1", "")


def test_the_file_is_its_owners_alone_and_holds_no_key(rig):
    """The file has mode 0600 for any umask, holds no key, and leaves no other file."""
    record, text = issue_record(make_keyring())
    before = os.umask(0)
    try:
        rig.write(record)
    finally:
        os.umask(before)

    assert stat.S_IMODE(rig.path.stat().st_mode) == 0o600
    assert text.encode() not in rig.path.read_bytes()
    assert text.rsplit("_", 1)[1].encode() not in rig.path.read_bytes()
    assert os.listdir(rig.path.parent) == ["snapshot"]


def test_without_a_file_there_is_nothing(rig):
    """Without a file nothing is restored."""
    assert rig.open().read(GRACE) is None


def test_aliases_are_kept_with_their_records(rig):
    """Aliases of imported keys are restored only together with their records."""
    old = make_record(kid="A" * 16, outage_grace=0)
    aliases = [(b"a" * 32, old.kid), (b"n" * 32, KID), (b"o" * 32, KID)]
    held = make_contents(old, RECORD, last_trusted=rig.clock.monotonic(), aliases=aliases)
    assert rig.open().write(held, "web-1")

    kept = rig.open().read(GRACE).contents

    assert (list(kept.records()), kept.aliases) == ([RECORD], aliases[1:])


def resigned(rig, lines):
    """Return these lines with a valid signature."""
    body = b"".join(lines)
    signature = hmac.digest(make_keyring().snapshot_keys[-1], body, "sha256").hex()
    rig.path.write_bytes(body + signature.encode() + b"\n")


def test_a_file_of_the_former_version_is_read(rig):
    """A file of the former version is read; it has no imported keys."""
    rig.write(RECORD, revoked=["B" * 16])
    header, record, aliases, revoked, _ = rig.path.read_bytes().splitlines(keepends=True)
    assert aliases == b"\n"
    resigned(rig, [header.replace(b"snapshot 2", b"snapshot 1"), record, revoked])

    kept = rig.open().read(GRACE).contents

    assert (list(kept.records()), kept.revoked, kept.aliases) == ([RECORD], ["B" * 16], [])


# refused


@pytest.mark.parametrize("garbled", [b"x:y\n", b"00\n", b"00:x:y\n", None])
def test_aliases_that_make_no_sense_are_refused(rig, garbled):
    """Garbled aliases are refused even with a valid signature."""
    rig.write()
    header, _, revoked, _ = rig.path.read_bytes().splitlines(keepends=True)
    resigned(rig, [header, revoked] if garbled is None else [header, garbled, revoked])

    assert "its content" in rig.refusal()


@pytest.mark.parametrize("at", [0, 0.1, 0.5, 0.9, 0.99, 1])
def test_a_byte_that_was_changed_is_noticed(rig, at):
    """A change of any byte, also in the signature, is detected."""
    rig.write(RECORD, revoked=[KID])
    content = bytearray(rig.path.read_bytes())
    position = min(int(len(content) * at), len(content) - 2)
    content[position] ^= 1
    rig.path.write_bytes(content)

    assert "tampered with" in rig.refusal() or "truncated" in rig.refusal()


def test_every_truncation_is_noticed(rig):
    """Every truncation is detected."""
    rig.write(RECORD)
    content = rig.path.read_bytes()

    for length in range(len(content)):
        rig.path.write_bytes(content[:length])
        assert "truncated" in rig.refusal() or "tampered with" in rig.refusal()


def test_another_pepper_did_not_write_it(rig):
    """A file that was written with another pepper is refused."""
    rig.write(RECORD)

    assert "another pepper" in rig.refusal("2")


def test_an_older_pepper_of_ours_may_have_written_it(rig):
    """A file that was signed with an older pepper of ours is accepted."""
    rig.write(RECORD)

    assert list(rig.open("1", "2").read(GRACE).contents.records()) == [RECORD]


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"format": "something else"},
        {"fields": ["kid"]},
        {"fields": 7},
        {"held_until_ms": "x"},
        {"held_until": None},
    ],
)
def test_a_file_of_another_version_is_refused(rig, change):
    """A file of an unknown version is refused even with a valid signature."""
    rig.write(RECORD)
    header, *rest = rig.path.read_bytes().splitlines(keepends=True)[:-1]
    resigned(rig, [json.dumps(json.loads(header) | change).encode() + b"\n", *rest])

    assert "version" in rig.refusal() or "its content" in rig.refusal()


def test_what_is_no_file_is_refused(rig):
    """A path that cannot be read is refused with the system's reason."""
    rig.path.mkdir()

    assert "Is a directory" in rig.refusal()


# age


def test_it_is_good_for_what_is_left_of_the_grace(rig):
    """The grace counts from the last moment of trust."""
    rig.write(RECORD, age=10)
    rig.clock.advance(15)

    kept = rig.open().read(GRACE)

    assert rig.clock.monotonic() - kept.contents.last_trusted == pytest.approx(25, abs=0.002)
    rig.clock.advance(5)
    assert list(rig.open().read(GRACE).contents.records()) == []


@pytest.mark.parametrize("boot", ["one", "two", ""])
def test_an_old_file_gives_no_records_but_what_was_revoked(rig, boot):
    """A file that is too old gives no records, but its revoked kids."""
    rig.write(RECORD, revoked=["B" * 16])
    rig.clock.advance(GRACE)

    kept = rig.open(boot=boot).read(GRACE)

    assert (list(kept.contents.records()), kept.contents.revoked) == ([], ["B" * 16])
    assert "older than the grace" in kept.trouble


def test_each_key_has_its_own_grace(rig):
    """The grace of a key, longer or shorter, overrides that of the sidecar."""
    never = make_record(kid="A" * 16, outage_grace=0)
    longer = make_record(kid="B" * 16, outage_grace=60_000)
    rig.write(RECORD, never, longer)
    assert list(rig.open().read(GRACE).contents.records()) == [RECORD, longer]

    rig.clock.advance(40)

    assert list(rig.open().read(GRACE).contents.records()) == [longer]


@pytest.mark.parametrize("boot", ["one", "two", ""])
def test_a_file_from_the_future_is_not_used(rig, boot):
    """A file from the future is refused, so setting the clock back extends no grace."""
    rig.write(RECORD, revoked=[KID])
    rig.clock.jump_wall(-1)

    kept = rig.open(boot=boot).read(GRACE)

    assert (list(kept.contents.records()), kept.contents.revoked) == ([], [KID])
    assert "from the future" in kept.trouble


def test_a_clock_set_back_prolongs_nothing_within_one_boot(rig):
    """Within one boot the monotonic clock limits the grace if the wall clock was set back."""
    rig.write(RECORD)
    rig.clock.advance(25)
    rig.clock.jump_wall(-20_000)

    held = rig.open().read(GRACE).contents

    assert rig.clock.monotonic() - held.last_trusted == 25


def test_a_clock_set_forward_ends_it_sooner(rig):
    """If the two clocks differ, the longer age counts."""
    rig.write(RECORD)
    rig.clock.jump_wall(31_000)

    assert list(rig.open().read(GRACE).contents.records()) == []


def test_after_a_reboot_the_wall_clock_counts(rig):
    """After a reboot only the wall clock counts."""
    rig.write(RECORD)
    later = FakeClock(rig.clock.wall_ms() + 12_000, monotonic=5.0)

    held = rig.open(boot="two", clock=later).read(GRACE).contents

    assert later.monotonic() - held.last_trusted == 12


def test_written_again_without_trust_it_is_not_good_for_longer(rig):
    """A sidecar that restarts repeatedly in an outage does not extend the grace."""
    rig.write(RECORD)
    for restart in range(29):
        rig.clock.advance(1)
        kept = rig.open(boot=str(restart)).read(GRACE)
        assert list(kept.contents.records()) == [RECORD]
        assert rig.open(boot=str(restart)).write(kept.contents, "web-1")
    rig.clock.advance(1)

    assert list(rig.open(boot="last").read(GRACE).contents.records()) == []


# writing


def test_a_file_that_cannot_be_written_leaves_the_old_one(rig, monkeypatch):
    """A failed write leaves the old file unchanged."""
    rig.write(RECORD)
    monkeypatch.setattr(module, "_record_line", lambda _record: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        rig.write(make_record(status=Status.DISABLED))

    assert list(rig.open().read(GRACE).contents.records()) == [RECORD]
    assert os.listdir(rig.path.parent) == ["snapshot"]


def test_writing_can_be_abandoned(rig):
    """A stopping process abandons the slow write and writes the file again."""
    abandon = threading.Event()
    abandon.set()

    written = rig.open().write(
        make_contents(RECORD, last_trusted=rig.clock.monotonic()), "web-1", abandon
    )

    assert not written
    assert os.listdir(rig.path.parent) == []


def test_a_path_is_one_processs(rig):
    """A second process is refused the same path until the first has ended."""
    refusal = r"cache\.snapshot: .*/snapshot is in use by another sidecar"
    with (
        rig.open().claimed(),
        pytest.raises(BadInput, match=refusal),
        rig.open().claimed(),
    ):
        pass

    with rig.open().claimed():
        rig.write(RECORD)


def test_where_nothing_can_be_locked_nothing_is(rig, monkeypatch):
    """A missing directory or a file system without locks does not prevent the start."""
    with Snapshot(rig.path / "lost" / "snapshot", make_keyring(), rig.clock, "one").claimed():
        pass

    def refuse(*_given):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with rig.open().claimed(), rig.open().claimed():
        rig.write(RECORD)


class Cache:
    """An imitated SnapshotSource."""

    def __init__(self, clock):
        self.is_trusted = True
        self.held = make_contents(RECORD, last_trusted=clock.monotonic())

    @property
    def last_trusted(self):
        """Implement SnapshotSource.last_trusted."""
        return self.held.last_trusted

    def contents(self):
        """Implement SnapshotSource.contents."""
        return self.held


@pytest.fixture
def keeping(rig, monkeypatch):
    """Make SnapshotWriters that check often, on a running clock."""
    monkeypatch.setattr(timing, "CHECK_SECONDS", 0.002)
    rig.clock = RealClock()

    @contextlib.asynccontextmanager
    async def keep(cache):
        keeper = SnapshotWriter(rig.open(), cache, "web-1", rig.clock, rig.probe)
        task = asyncio.create_task(keeper.run())
        yield keeper
        task.cancel()
        await asyncio.wait([task])
        await keeper.stop()

    return keep


async def test_it_is_written_every_so_often_and_when_trust_is_lost(rig, keeping, monkeypatch):
    """The file is written every minute, when trust is lost, and at the end."""
    monkeypatch.setattr(timing, "EVERY", 0.02)
    cache = Cache(rig.clock)
    async with keeping(cache):
        for _ in range(2):
            await eventually(rig.path.exists)
            rig.path.unlink()
        monkeypatch.setattr(timing, "EVERY", 3600)
        await eventually(rig.path.exists)
        rig.path.unlink()

        cache.is_trusted = False
        cache.held = replace(cache.held, last_trusted=rig.clock.monotonic())
        await eventually(rig.path.exists)
        rig.path.unlink()

    assert rig.path.exists()


async def test_trust_that_was_short_is_kept_too(rig, keeping):
    """The file is written even if trust came and went between two checks."""
    cache = Cache(rig.clock)
    cache.is_trusted = False

    async with keeping(cache):
        await eventually(rig.path.exists)
        rig.path.unlink()
        cache.held = replace(cache.held, last_trusted=rig.clock.monotonic())
        await eventually(rig.path.exists)


async def test_who_was_never_trusted_writes_nothing(rig, keeping):
    """A sidecar that was never trusted leaves the existing file unchanged."""
    rig.path.write_text("of another")
    cache = Cache(rig.clock)
    cache.is_trusted = False
    cache.held = make_contents(last_trusted=float("-inf"))

    async with keeping(cache):
        pass

    assert rig.path.read_text() == "of another"


async def test_a_full_disk_is_reported_once_and_stops_nothing(rig, keeping, monkeypatch, caplog):
    """A full disk is logged once; when there is space again, the file is written."""
    monkeypatch.setattr(timing, "EVERY", 0.005)
    attempts = []
    replace_file = module._sync_directory

    def full(path):
        attempts.append(path)
        if len(attempts) < 4:
            raise OSError(28, "No space left on device")
        replace_file(path)

    monkeypatch.setattr(module, "_sync_directory", full)
    with caplog.at_level(logging.WARNING):
        async with keeping(Cache(rig.clock)):
            await eventually(lambda: rig.probe.events[Event.SNAPSHOT_WRITTEN] > 1)

    assert rig.probe.events[Event.SNAPSHOT_FAILED] == 3
    assert [line for line in caplog.messages if "No space left" in line] == [
        f"cache.snapshot: {rig.path} is not written: No space left on device"
    ]


async def test_a_file_that_failed_when_trust_was_lost_is_tried_again(
    rig, keeping, monkeypatch, caplog
):
    """A write that failed when trust was lost is repeated during the outage."""
    monkeypatch.setattr(timing, "EVERY", 0.02)
    cache = Cache(rig.clock)
    cache.is_trusted = False
    room = rig.path.parent.with_name("room")
    rig.path.parent.rename(room)

    async with keeping(cache):
        await eventually(lambda: "No such file" in caplog.text)
        room.rename(rig.path.parent)
        await eventually(rig.path.exists)


# restoring


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda rig: None, "restored 1 records and 0 revoked kids"),
        (lambda rig: rig.path.unlink(), "there is no"),
        (lambda rig: rig.path.write_bytes(b"x"), "is not used: it is truncated"),
        (lambda rig: rig.clock.advance(31), "only 0 revoked kids are used"),
        (lambda rig: rig.clock.jump_wall(-1), "from the future"),
    ],
)
def test_what_came_of_it_is_said_in_one_line(rig, caplog, spoil, said):
    """The result of restoring is logged in one line, and the start continues."""
    rig.write(RECORD)
    spoil(rig)

    with caplog.at_level(logging.INFO):
        restore(rig.open(), GRACE)

    [line] = caplog.messages
    assert line.startswith("cache.snapshot: ")
    assert said in line
