"""The files that git opens in a repository. None may be a pipe: git waits for ever for its writer.

Git waits in its first command, too, so the repository is found here, as git finds it.
"""

import os
import stat
from pathlib import Path

from authz.core.errors import Unavailable
from authz.process.git_places import plain_path


def check(folder: Path) -> None:
    """Raise Unavailable if the repository of a folder, or an alternate, has a pipe or a device.

    A socket may be there: git cannot open one, and says so.
    """
    place = _git_folder(Path(os.path.realpath(folder)))
    if place is None:
        return  # git says that there is none
    common = place / _line(place / "commondir")
    seen = set[str]()
    _check_folder(place, seen)
    _check_folder(common, seen)
    stores = [os.path.realpath(common / "objects")]
    for store in stores:  # it grows
        _check_folder(store, seen)
        for line in _lines(Path(store, "info", "alternates")):
            other = os.path.realpath(Path(store, plain_path(line)))
            if line and not line.startswith("#") and other not in stores:
                stores.append(other)


def _git_folder(folder: Path) -> Path | None:
    """Return the folder of git's files for a folder, or None."""
    for one in (folder, *folder.parents):
        place = one / ".git"
        if place.is_dir():
            return place
        if os.path.lexists(place):  # the file of a worktree or of a submodule
            return one / _line(place).removeprefix("gitdir: ")
        if (one / "objects").is_dir() and (one / "refs").is_dir():
            return one
    return None


def _line(file: Path) -> str:
    return next(iter(_lines(file)), "")


def _lines(file: Path) -> list[str]:
    """Return the lines of a file, none if it cannot be read. Raises Unavailable for a pipe."""
    if _is_folder(file):
        return []
    try:
        text = file.read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return []  # git says so if it needs it
    return [line for line in text.split("\n") if "\0" not in line]


def _check_folder(folder: Path | str, seen: set[str]) -> None:
    """Check what is in a folder and in the folders in it, also behind links, each once."""
    waiting = [os.path.realpath(folder)]
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        try:
            with os.scandir(place) as entries:
                # There may be very many files. This asks the system about none of them.
                odd = [one for one in entries if not one.is_file(follow_symlinks=False)]
        except OSError:
            continue  # git says so if it needs it
        waiting += [os.path.realpath(one.path) for one in odd if _is_folder(Path(one.path))]


def _is_folder(path: Path) -> bool:
    """Return whether there is a folder. Raises Unavailable if there is a pipe or a device."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False  # it is gone, or a link to nothing
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISSOCK(mode)):
        raise Unavailable(f"{path} is no file, so git would wait for it")
    return stat.S_ISDIR(mode)
