"""How fast `authz scan` searches, and whether it misses a key or sees one that is none.

    python -m tests.bench.scan [--mib N] [--objects N]

Text: source code of this repository in one file, with 20 keys. Git: a made-up history in one pack,
with 200 keys in blobs, binary blobs, file names and commits. Random: characters of keys only, with
the beginnings of keys in between.

Text is searched by one process: its rate is that of processor time. The objects of git are searched
on all processors: their rate is that of the time that passes, with the place of each key in the
history, and it needs a calm machine. The rate of their processor time is beside it, and both rates
of `git cat-file` alone, which makes no search.
"""

import argparse
import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

from authz.core.keys import base62
from authz.core.keys.keyring import Keyring
from authz.core.keys.pepper import Pepper
from authz.core.keys.scanning import KeyScanner
from authz.process.git_objects import GitObjects
from authz.process.searched_bytes import BlockSearch
from tests.bench.processor_time import child_seconds
from tests.support.docs import ROOT

RING: Final = Keyring("ak", [Pepper.expand("1", b"p" * 32)])
IN_TEXT: Final = 20
IN_HISTORY: Final = 200
MIB: Final = 1024 * 1024
LEAST_TEXT: Final = 1e9  # bytes a second
LEAST_GIT: Final = 3e8
DRAW: Final = 64 * 1024  # bytes


def keys(count: int) -> list[str]:
    """Return new keys."""
    return [RING.mint("live").text for _ in range(count)]


def sources() -> bytes:
    """Return the source code of this repository."""
    return b"".join(one.read_bytes() for one in sorted((ROOT / "authz").rglob("*.py")))


def seconds() -> float:
    """Return the processor time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + child_seconds()


class _Watch:
    """Measures the time that passes, and the processor time of this process and its children."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), seconds()

    def passed(self) -> tuple[float, float]:
        """Return both, in seconds."""
        began, used = self._began
        return time.perf_counter() - began, seconds() - used


def text(folder: Path, mib: int) -> dict[str, Any]:
    """Search a large file."""
    part, planted = sources(), keys(IN_TEXT)
    file, size = folder / "text", mib * MIB
    with file.open("wb") as out:
        for key in planted:
            for _ in range(max(1, size // IN_TEXT // len(part))):
                out.write(part)
            out.write(key.encode())
    search = BlockSearch(KeyScanner(("ak",)))
    began = seconds()
    hits = list(_streamed(search, file))
    took = seconds() - began
    found = {one.sighting.reveal() for one in hits}
    return {
        "rate": search.bytes_read / took,
        "missed": len(set(planted) - found),
        "bytes": search.bytes_read,
    }


def _streamed(search: BlockSearch, file: Path) -> Iterator[Any]:
    with file.open("rb", buffering=0) as stream:
        yield from search.hits(stream, counts_lines=False)


def history(folder: Path, objects: int) -> dict[str, Any]:
    """Search a repository with about this many objects."""
    repository = folder / "repository"
    planted = keys(IN_HISTORY)
    subprocess.run(("git", "init", "-q", str(repository)), check=True)
    words = ("git", "-C", str(repository), "fast-import", "--quiet", "--force")
    with subprocess.Popen(words, stdin=subprocess.PIPE) as git:
        assert git.stdin is not None
        _write_history(git.stdin, planted, objects)
        git.stdin.close()
        assert git.wait() == 0
    search = BlockSearch(KeyScanner(("ak",)))
    git_objects = GitObjects(repository, search)
    watch = _Watch()
    found = {one.hit.sighting.reveal() for one in git_objects.found()}
    passed, used = watch.passed()
    watch = _Watch()
    words = ("cat-file", "--batch-all-objects", "--batch", "--unordered", "--buffer")
    subprocess.run(("git", "-C", str(repository), *words), stdout=subprocess.DEVNULL, check=True)
    passed_alone, used_alone = watch.passed()
    size = search.bytes_read
    return {
        "rate": size / passed,
        "rate_of_processor_time": size / used,
        "rate_of_git_alone": size / passed_alone,
        "rate_of_processor_time_of_git_alone": size / used_alone,
        "missed": len(set(planted) - found),
        "more": len(found - set(planted)),
        "objects": git_objects.objects,
        "bytes": search.bytes_read,
    }


def _write_history(out: IO[bytes], planted: Sequence[str], objects: int) -> None:
    """Write a stream of git fast-import: a commit has one new blob and new trees."""
    chance, part = random.Random(1), sources()
    commits = objects // 4  # a commit, a blob, the tree of a folder, the root
    named = b""  # the file of the commit before whose name is a key
    places = dict(zip(chance.sample(range(commits), len(planted)), planted, strict=True))
    for number in range(commits):
        key, kind = places.get(number), number % 5
        begins = chance.randrange(len(part) - 20_000)
        blob = b"%d\n" % number + part[begins : begins + chance.randrange(500, 20_000)]
        message, name = f"change {number}", f"file{number % 97}.py"
        if key and kind == 0:
            message += f" with {key}"
        elif key and kind == 1:
            name = f"{key}.txt"
        elif key:
            at = chance.randrange(len(blob))
            blob = blob[:at] + key.encode() + (b"\x00\xff" * kind) + blob[at:]
        raw = message.encode()
        out.write(b"commit refs/heads/main\ncommitter a <a@example.com> %d +0000\n" % number)
        out.write(b"data %d\n%s\n" % (len(raw), raw))
        if named:
            out.write(b"D %s\n" % named)
        path = f"folder{number % 13}/{name}".encode()
        out.write(b"M 100644 inline %s\ndata %d\n%s\n" % (path, len(blob), blob))
        named = path if key and kind == 1 else b""


def noise(mib: int) -> dict[str, Any]:
    """Search random characters of keys, with beginnings of keys in between."""
    search = BlockSearch(KeyScanner(("ak",)))
    hits = list(search.hits(_Noise(mib * MIB), counts_lines=False))
    return {"alarms": len(hits), "bytes": search.bytes_read}


class _Noise:
    """Random base62. Every 64 KiB begin with a text in the form of a key."""

    _DIGITS: Final = bytes(ord(base62.DIGITS[byte % 62]) for byte in range(256))

    def __init__(self, size: int) -> None:
        self._left = size

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer with random characters; 0 at the end."""
        count = min(len(buffer), self._left)
        self._left -= count
        for at in range(0, count, DRAW):
            digits = secrets.token_bytes(min(DRAW, count - at)).translate(self._DIGITS)
            shaped = b"ak_live_" + digits[8:24] + b"_" + digits[25:]
            buffer[at : at + len(digits)] = shaped[: len(digits)]
        return count


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures. Return 1 if a key was missed, or something else was taken for one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512, help="size of the text and of the noise")
    parser.add_argument("--objects", type=int, default=100_000)
    given = parser.parse_args(arguments)
    if given.objects < 4 * IN_HISTORY:
        parser.error(f"--objects: at least {4 * IN_HISTORY}, a commit for each planted key")
    with tempfile.TemporaryDirectory() as name:
        found = {
            "text": text(Path(name), given.mib),
            "git": history(Path(name), given.objects),
            "random": noise(given.mib),
        }
    print(json.dumps(found, indent=1))
    print(f"text {found['text']['rate'] / 1e9:.2f} GB/s, aim {LEAST_TEXT / 1e9:.2f}")
    git = {name: rate / 1e9 for name, rate in found["git"].items() if name.startswith("rate")}
    print(
        f"git {git['rate']:.2f} GB/s, aim {LEAST_GIT / 1e9:.2f}; "
        f"of processor time {git['rate_of_processor_time']:.2f} GB/s; git alone, without a search, "
        f"{git['rate_of_git_alone']:.2f} and {git['rate_of_processor_time_of_git_alone']:.2f} GB/s"
    )
    wrong = found["text"]["missed"] + found["git"]["missed"] + found["git"]["more"]
    return int(bool(wrong + found["random"]["alarms"]))


if __name__ == "__main__":
    sys.exit(main())
