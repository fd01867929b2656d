"""The packs of a repository, compared with the list of objects that git makes."""

import errno
import os
import stat
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path
from typing import Final, NamedTuple

from authz.core.errors import Unavailable, Unreadable
from authz.process.git_command import GitCommand
from authz.process.git_pack import Pack

LINES: Final = 1024 * 1024  # bytes of git's list that are read at once
_HASH_LENGTHS: Final = {"sha1": 20, "sha256": 32}
# This process has too much open: git reads such a pack.
_PASSING: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_ALTERNATE: Final = "alternate: "
# It lists the alternates, and opens no file among their packs but this index.
_COUNT: Final = ("-c", "core.multiPackIndex=false", "count-objects", "-v")


def opened(git: GitCommand, folder: Path) -> list[Pack]:
    """Return the packs of a repository and of its alternates, without those that are not read here.

    A pack that cannot be opened is noted in `git.left_out`. Raises Unavailable if git fails, or if
    git would wait for a pipe among the packs.
    """
    form, *own = git.lines("rev-parse", "--show-object-format", "--git-path", "objects/pack")
    places = [folder / one for one in own]
    _check(places)  # before git opens the packs
    lines = git.lines(*_COUNT)
    others = [one.removeprefix(_ALTERNATE) for one in lines if one.startswith(_ALTERNATE)]
    alternates = [folder / one / "pack" for one in others]
    _check(alternates)
    length = _HASH_LENGTHS.get(form)
    if length is None:
        return []
    found = []
    for place in (*places, *alternates):
        for index in sorted(place.glob("*.idx")):
            try:
                found.append(Pack(index, length))
            except Unreadable:
                continue
            except OSError as cause:
                # Git, too, goes on without it, and says nothing. If another process has packed the
                # repository again, index and pack are gone.
                is_gone = cause.errno == errno.ENOENT and not os.path.lexists(index)
                if not is_gone and cause.errno not in _PASSING:
                    git.leave_out(f"error: {index}: {cause.strerror}")
    return found


def _check(places: Sequence[Path]) -> None:
    """Raise Unavailable if one of these folders has a pipe, a device, or a folder for a pack.

    Git waits for the writer of a pipe, and leaves out a pack that is a folder without an error.
    """
    for place in places:
        for one in sorted(place.glob("*")):
            try:
                mode = one.stat().st_mode
            except OSError:  # it is gone, or a link to nothing: git says so if it needs it
                continue
            is_folder = stat.S_ISDIR(mode) and one.suffix not in {".idx", ".pack"}
            if not (stat.S_ISREG(mode) or is_folder):
                raise Unavailable(f"{one} is no file, so git cannot read the packs there")


class Listed(NamedTuple):
    """The list of git. objects: how many. others: the names of those that are in no open pack."""

    objects: int
    others: list[bytes]


def listed(stream: BufferedReader, packs: Sequence[Pack]) -> Listed | None:
    """Read git's list of all objects, which is in the order of their names.

    Return None if it lacks an object of a pack: the repository was packed again, or is damaged.
    Raises Unavailable if the list is cut off.
    """
    count, others, places, is_whole = 0, list[bytes](), [0] * len(packs), True
    while lines := stream.readlines(LINES):
        names, last = set(lines), _name(lines[-1])
        count += len(names)
        left = names.copy()
        for at, pack in enumerate(packs):
            after = pack.position_after(last)
            packed = set(pack.lines(places[at], after))
            is_whole = is_whole and packed <= names
            places[at] += len(packed)
            left -= packed
        others += map(_name, left)
    is_whole = is_whole and places == [pack.count for pack in packs]
    return Listed(count, others) if is_whole else None


def _name(line: bytes) -> bytes:
    try:
        name = bytes.fromhex(line.decode("ascii"))
    except ValueError:
        name = b""
    if len(name) not in _HASH_LENGTHS.values() or not line.endswith(b"\n"):
        raise Unavailable("git did not list all objects")
    return name
