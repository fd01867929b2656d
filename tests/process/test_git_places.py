"""The first places of objects are those that one `git log` names, whoever shares the commits."""

import random
import resource

import pytest

from authz.core.errors import Unavailable
from authz.process import git_places
from authz.process.git_command import GitCommand
from authz.process.git_places import first_places
from tests.support.git_histories import RandomRepository


def logged(one: RandomRepository) -> dict[str, tuple[str, str]]:
    """Return the first places of all objects by `git log`."""
    words = ("log", "--all", "--reflog", "--reverse", "-m", "--raw", "-t", "--no-abbrev")
    text = one.git("-c", "log.showRoot=true", *words, "--no-renames", "--format=%H").decode()
    places, commit = {}, ""
    for line in text.splitlines():
        if line.startswith(":"):
            about, path = line.split("\t")
            places.setdefault(about.split()[3], (commit, path))
        else:
            commit = line or commit
    return places


@pytest.mark.parametrize("form", ["sha1", "sha256"])
def test_the_first_commit_and_the_path(tmp_path, monkeypatch, form):
    """Also with merges, and with commits that only the reflog names; in any number of shares."""
    monkeypatch.setattr(git_places.os, "sched_getaffinity", lambda _: set(range(3)))
    one = RandomRepository(tmp_path / "one", random.Random(11), form)
    one.git("reset", "-q", "--hard")
    for number in range(4):
        one.grow()
        one.git("checkout", "-qfB", f"side{number}", "main~1" if number else "main")
        one.git("commit", "-q", "--allow-empty", "-m", f"side {number}")
        one.git("merge", "-q", "-s", "ours", "-m", "merged", "main")
    one.git("commit", "-q", "--amend", "-m", "again")
    listed = one.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
    oids, expected = listed.decode().split(), logged(one)
    assert expected
    for least, most in ((1, 10_000), (5, 10_000), (1000, 10_000), (1, 7)):
        monkeypatch.setattr(git_places, "LEAST_SHARED", least)
        monkeypatch.setattr(git_places, "MAX_NAMED", most)
        places = first_places(GitCommand(one.folder), oids)
        assert {oid: places.get(oid) for oid in oids} == {oid: expected.get(oid) for oid in oids}


def test_objects_without_a_place(tmp_path):
    """A history without commits has no places, and a folder without a history is an error."""
    one = RandomRepository(tmp_path / "one", random.Random(12), "sha1")
    git = GitCommand(one.folder)
    assert first_places(git, []) == {}
    assert first_places(git, ["0" * 39 + "1"]) == {}
    one.git("update-ref", "-d", "refs/heads/main")
    one.git("reflog", "expire", "--expire=all", "--all")
    assert first_places(git, ["0" * 39 + "1"]) == {}
    (tmp_path / "none").mkdir()
    with pytest.raises(Unavailable):
        first_places(GitCommand(tmp_path / "none"), ["0" * 39 + "1"])


def test_a_full_disk(tmp_path):
    """The commits for git do not fit on the disk: the search has failed."""
    one = RandomRepository(tmp_path / "one", random.Random(13), "sha1")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(Unavailable, match="a temporary file cannot be written: File too large"):
            first_places(GitCommand(one.folder), ["0" * 39 + "1"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
