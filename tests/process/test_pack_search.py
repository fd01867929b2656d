"""Objects in packs are read here as git reads them: the same keys at the same places."""

import errno
import multiprocessing
import os
import random
import signal
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from multiprocessing.connection import Connection

import pytest

from authz.core.errors import Unavailable, Unreadable
from authz.process import git_objects, git_packs, pack_format, pack_search
from authz.process.git_command import GitCommand
from authz.process.git_objects import GitObjects
from authz.process.pack_format import THINGS, applied, entry, inflated
from authz.process.searched_bytes import BlockSearch
from tests.support.git_histories import (
    SCANNER,
    RandomRepository,
    key,
    plain,
    plain_in_every_way,
    run,
)

BASE = b"abcdefgh" * 40
PACKED = zlib.compress(BASE)
MOST = 1000


def found(folder):
    """Return name, kind, offset and text of each key, and how many objects there are.

    None if the repository cannot be read.
    """
    objects = GitObjects(folder, BlockSearch(SCANNER))
    try:
        hits = list(objects._hits())
    except Unavailable:
        return None, 0
    keys = {(oid, thing, hit.offset, hit.sighting.reveal()) for oid, thing, hit in hits}
    return keys, objects.objects


@pytest.fixture(params=["isal", "zlib"])
def unpacking(request, monkeypatch):
    """The library that unpacks: that of the extra `scan`, or that of Python."""
    if request.param == "zlib":
        monkeypatch.setattr(pack_format, "unpacking", zlib)
        monkeypatch.setattr(pack_format, "_FAULT", zlib.error)
    else:
        pytest.importorskip("isal")
        assert pack_format.unpacking is not zlib


@pytest.mark.parametrize("seed", range(2))
def test_the_same_keys_as_git(tmp_path, monkeypatch, unpacking, seed):
    """Random histories, stored in every way, also damaged ones: no key more and no key less."""
    chance = random.Random(seed)
    monkeypatch.setattr(pack_search, "LEAST_SHARED", chance.choice((0, 1 << 30)))
    monkeypatch.setattr(pack_search, "MAX_OBJECT", chance.choice((300, 2000, 1 << 22)))
    monkeypatch.setattr(pack_search, "MAX_HELD", chance.choice((0, 3000, 1 << 26)))
    one = RandomRepository(tmp_path / "one", chance, ("sha1", "sha256")[seed % 2])
    for _ in range(2):
        one.store()
        one.grow()
    one.hide()
    one.store()
    repositories = [one, one.clone(("shared", "partial")[seed % 2])]
    repositories[1].store()
    for repository in repositories:
        expected = plain(repository.folder)
        assert expected is not None
        assert found(repository.folder)[0] == expected
    for repository in repositories:
        repository.damage(".pack")
        assert found(repository.folder)[0] in plain_in_every_way(repository.folder)
        repository.damage(".idx")
        keys, ways = found(repository.folder)[0], plain_in_every_way(repository.folder)
        assert keys in ways or not any(ways)  # git may not find what is read here


@pytest.mark.parametrize("form", ["sha1", "sha256"])
@pytest.mark.parametrize("deltas", ["true", "false"])
def test_packs_are_read_without_git(tmp_path, monkeypatch, unpacking, form, deltas):
    """Git prints no object of whole packs, also of alternates; each counts once."""
    monkeypatch.setattr(pack_search, "LEAST_SHARED", 0)
    one = RandomRepository(tmp_path / "one", random.Random(3), form)
    for _ in range(3):
        one.grow()
    one.git("-c", f"repack.useDeltaBaseOffset={deltas}", "repack", "-adfq", "--depth=50")
    two = one.clone("shared")
    two.git("repack", "-adlq")
    two.git("prune-packed")
    monkeypatch.delattr(GitObjects, "_read")
    for repository in (one, two):
        number = len(repository.git(*git_objects._LIST).splitlines())
        assert found(repository.folder) == (plain(repository.folder), number)


def test_a_list_that_lacks_objects(tmp_path, monkeypatch):
    """Then git prints all objects. So they are found after they were packed again meanwhile."""
    one = RandomRepository(tmp_path / "one", random.Random(5), "sha1")
    one.git("repack", "-adfq")
    opened = git_packs.opened

    def packed_again(*given):
        found = opened(*given)
        one.grow()
        one.git("repack", "-adfq")
        one.git("reflog", "expire", "--expire=all", "--all")
        one.git("update-ref", "refs/heads/main", "main~1")
        one.git("gc", "-q", "--prune=now")
        return found

    monkeypatch.setattr(git_packs, "opened", packed_again)
    keys, number = found(one.folder)
    assert (keys, number) == (plain(one.folder), len(one.git(*git_objects._LIST).splitlines()))


@pytest.mark.parametrize("form", ["sha1", "sha256"])
def test_the_same_objects_as_git(tmp_path, unpacking, form):
    """Every object of a pack has the kind and the bytes that git prints, also long new texts."""
    chance = random.Random(4)
    one = RandomRepository(tmp_path / "one", chance, form)
    for number in range(40):
        old = (one.folder / "long").read_bytes() if number else b""
        at = chance.randrange(len(old) + 1)
        new = chance.randbytes(chance.choice((1, 126, 127, 128, 254, 1000, 9000, 20_000)))
        (one.folder / "long").write_bytes(old[:at] + new + old[at + chance.randrange(99) :])
        one.git("add", "long")
        one.git("commit", "-qm", f"long {number}", "--", "long")
        one.grow()
    one.git("repack", "-adfq", "--depth=20")
    [pack] = git_packs.opened(GitCommand(one.folder), one.folder)
    made = {number: pack.content(number, 1 << 22) for number in pack.roots}
    waiting, kinds = list(pack.roots), {number: pack.kind(number) for number in pack.roots}
    while waiting:
        number = waiting.pop()
        for child in pack.children(number):
            made[child] = applied(made[number], pack.content(child, 1 << 22), 1 << 22)
            kinds[child] = kinds[number]
            waiting.append(child)
    assert len(made) == pack.count > len(pack.roots)
    names = "".join(f"{pack.name(at).hex()}\n" for at in made).encode()
    printed = run(one.folder, "cat-file", "--batch", given=names)
    assert printed == b"".join(
        b"%s %s %d\n%s\n" % (name, THINGS[kinds[at]].encode(), len(made[at]), made[at])
        for at, name in zip(made, names.splitlines(), strict=True)
    )


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """A repository with one pack, which two processes search."""
    made = RandomRepository(tmp_path / "one", random.Random(6), "sha1")
    made.git("repack", "-adfq")
    monkeypatch.setattr(pack_search, "LEAST_SHARED", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    return made


def test_an_interrupt_at_the_terminal(shared, monkeypatch):
    """The processes that search leave Ctrl-C to the first one, so they print no traceback."""

    def search(_self, _unit, found):
        found.bytes_read += signal.getsignal(signal.SIGINT) is signal.SIG_IGN

    monkeypatch.setattr(pack_search.PackSearch, "search", search)
    packs = git_packs.opened(GitCommand(shared.folder), shared.folder)
    with pack_search.search_of(packs, SCANNER) as searches:
        handled = [one.bytes_read for one in searches()]
    assert handled == [len(pack_search.UNITS)] * len(packs)
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


def test_a_search_that_is_left_early(shared, monkeypatch):
    """If the list of objects fails, the processes that search are ended."""
    monkeypatch.setattr(pack_search.PackSearch, "search", lambda *_: signal.pause())
    monkeypatch.setattr(git_objects, "_LIST", ("cat-file", "--nonsense"))
    with pytest.raises(Unavailable, match="exited with"):
        list(GitObjects(shared.folder, BlockSearch(SCANNER)).found())
    assert multiprocessing.active_children() == []


def test_a_process_that_is_killed(shared, monkeypatch):
    """The end of one of the processes that search is an error."""
    search = pack_search.PackSearch.search

    def killed(self, unit, found):
        if unit == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        search(self, unit, found)

    monkeypatch.setattr(pack_search.PackSearch, "search", killed)
    with pytest.raises(Unavailable, match="a process of the search was ended"):
        list(GitObjects(shared.folder, BlockSearch(SCANNER)).found())


def test_a_process_that_is_killed_while_it_sends(shared, monkeypatch):
    """A part of a result is no result."""

    def killed(link, _found):
        os.write(link.fileno(), struct.pack("!i", 1000) + b"a part")
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(Connection, "send", killed)
    with pytest.raises(Unavailable, match="a process of the search was ended"):
        list(GitObjects(shared.folder, BlockSearch(SCANNER)).found())
    assert multiprocessing.active_children() == []


def test_a_system_that_starts_no_more_processes(shared, monkeypatch):
    """Then the search has failed, and the processes that it has started are ended."""
    monkeypatch.setattr(pack_search.PackSearch, "search", lambda *_: signal.pause())
    fork, forks = os.fork, iter((True, False))

    def only_once():
        if not next(forks):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return fork()

    monkeypatch.setattr(os, "fork", only_once)
    with pytest.raises(Unavailable, match="no process can be started to search: Resource temp"):
        list(GitObjects(shared.folder, BlockSearch(SCANNER)).found())
    assert multiprocessing.active_children() == []


ABANDONED = """
import os, signal, sys, time
from pathlib import Path
from authz.process import git_packs, pack_search
from authz.process.git_command import GitCommand
from tests.support.git_histories import SCANNER

def search(_self, unit, found):
    os.write(1, b"%d " % unit)
    found.hits += [pack_search.PackHit(0, "blob" * 100, None)] * 100_000
    while WAITS and os.getppid() == parent:
        time.sleep(0.01)

folder, parent, WAITS = Path(sys.argv[1]), os.getpid(), sys.argv[2] == "search"
pack_search.LEAST_SHARED, os.sched_getaffinity = 0, lambda _: {0, 1}
pack_search.PackSearch.search, pack_search.UNITS = search, bytes(range(4))
with pack_search.search_of(git_packs.opened(GitCommand(folder), folder), SCANNER):
    signal.pause()
"""


@pytest.mark.parametrize("busy", ["search", "send"])
def test_the_first_process_is_killed(tmp_path, busy):
    """The others end after the unit that they search, also if a large result is not yet read."""
    one = RandomRepository(tmp_path / "one", random.Random(6), "sha1")
    one.git("repack", "-adfq")
    command = (sys.executable, "-c", ABANDONED, os.fspath(one.folder), busy)
    with subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0) as first:
        try:
            units = first.stdout.read(4)
            first.kill()
            units += first.communicate(timeout=60)[0]  # to the end of all that write there
        finally:
            with suppress(ProcessLookupError):
                os.killpg(first.pid, signal.SIGKILL)
    assert len(units.split()) in ((2,) if busy == "search" else (2, 3, 4))


def test_a_key_that_a_delta_puts_together():
    """A key of which one half is copied and the other half is new, or both are copied."""
    text = key(random.Random(1)).encode()
    base = text[:20] + b"--" + text[20:]
    sizes = bytes([len(base), len(text)])
    half = sizes + bytes([0x90, 20, len(text) - 20]) + text[20:]
    both = sizes + bytes([0x90, 20, 0x91, 22, len(text) - 20])
    assert applied(base, half, MOST) == applied(base, both, MOST) == text


@pytest.mark.parametrize(
    "delta",
    [
        b"",
        b"\xc0",
        b"\xc0\x02",
        b"\xc0\x02\x05",
        b"\xc0\x02\x03\x05ab",
        b"\xc0\x02\x03\x00abc",
        b"\xbf\x02\x03\x90\x03",
        b"\xc0\x02\x03\x90",
        b"\xc0\x02\x04\x90\x03",
        b"\xc0\x02\x02\x90\x03",
        b"\xc0\x02\x03\x93\x3e\x01\x03",
        b"\xc0\x02\x03\x91\x00",
        b"\xc0\x02\x80\x80\x04\x80",
        b"\xc0\x02\x03\x98\xff\x03",
        b"\xc0\x02\x03\x90\x03x",
        b"\xc0\x02\xe9\x07" + b"\x90\xff" * 3 + b"\x90\xec",
        b"\xc0\x02" + b"\xff" * 9 + b"\x01",
        b"\x80" * 99,
    ],
)
def test_deltas_that_are_wrong(delta):
    """A delta with wrong sizes or steps, or of a large object, makes nothing."""
    with pytest.raises(Unreadable):
        applied(BASE, delta, MOST)


def test_deltas_of_long_new_texts():
    """Steps of the largest size one behind the other, however many, and what follows them."""
    chance = random.Random(2)
    for full in (*range(4), 63, 64, 65, 128, 200):
        for last in (0, 1, 126):
            new = bytes(chance.choice(b"\x7fab") for _ in range(127 * full + last))
            steps = b"".join(
                bytes([len(new[at : at + 127])]) + new[at : at + 127]
                for at in range(0, len(new), 127)
            )
            size = 2 + len(new)
            sizes = b"\xc0\x02" + bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14])
            delta = sizes + steps + b"\x91\x07\x02"
            assert applied(BASE, delta, 1 << 20) == new + BASE[7:9]
            for cut in {1, 2, 3, 4, 130, len(steps)} & set(range(len(steps))):
                with pytest.raises(Unreadable):
                    applied(BASE, delta[:-cut], 1 << 20)


def test_a_delta_of_large_copies():
    """Offsets and numbers of three bytes, and the number 0, which stands for 64 KiB."""
    base = bytes(range(256)) * 0x300
    sizes = b"\x80\x80\x0c"
    delta = sizes + b"\x80\x84\x04" + b"\xf4\x01\x00\x01\x01" + b"\x81\xff"
    want = base[0x10000:0x20100] + base[255 : 255 + 0x10000]
    sized = sizes + bytes([len(want) & 127 | 128, len(want) >> 7 & 127 | 128, len(want) >> 14])
    assert applied(base, sized + delta[6:], 1 << 20) == want


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"", 0),
        (PACKED[:-1], len(BASE)),
        (PACKED[:9], len(BASE)),
        (PACKED[:-1] + bytes([PACKED[-1] ^ 1]), len(BASE)),
        (b"\x00" + PACKED[1:], len(BASE)),
        (PACKED, len(BASE) - 1),
        (PACKED, len(BASE) + 1),
        (zlib.compress(bytes(1 << 27)), 1),
        (zlib.compress(bytes(1 << 27))[:-1], 1 << 27),
    ],
)
def test_data_that_is_damaged(unpacking, data, size):
    """Data that is cut off, has a wrong checksum or unpacks to another size is not taken."""
    with pytest.raises(Unreadable):
        inflated(memoryview(data), size)


@pytest.mark.parametrize("size", [0, 1, 320, 1 << 20])
def test_data_with_others_behind_it(unpacking, size):
    """Bytes after the end of the data are left alone."""
    text = random.Random(1).randbytes(size)
    assert inflated(memoryview(zlib.compress(text) + b"next"), size) == text


@pytest.mark.parametrize(
    "head",
    [b"", b"\x80", b"\x00\x01", b"\x50", b"\xe0", b"\x70" + b"x" * 19, b"\xbf" + b"\xff" * 63],
)
def test_entries_that_are_wrong(head):
    """An entry that is cut off, or of no known kind or possible size, is not read."""
    with pytest.raises(Unreadable):
        entry(head, 20)
