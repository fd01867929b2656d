"""Indexes by kid and by short members: commands of an earlier build beside those of this one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.docs import ROOT
from tests.support.real import Valkey
from tests.upgrade import former
from tests.upgrade.former import OK, Sidecar, Version

# The last revision that writes compact records and knows no short members.
REVISION = "c3a77dd40fbd505c9e37347a106670b647e91d93"


@pytest.fixture
def store() -> Iterator[Valkey]:
    """Yield an empty store."""
    with Valkey() as valkey:
        yield valkey


@pytest.fixture
def before(store: Valkey, tmp_path: Path) -> Version:
    """Return the earlier build on that store, after its `authz init`."""
    (tmp_path / "code").mkdir()
    version = Version(former.code(tmp_path / "code", REVISION), former.settings(tmp_path, store))
    version.run("init")
    return version


@pytest.fixture
def present(store: Valkey, tmp_path: Path, before: Version) -> Version:
    """Return this version on that store, after its `authz init`."""
    version = Version(ROOT, former.settings(tmp_path, store))
    version.run("init")
    return version


def issued(version: Version) -> tuple[str, str]:
    """Issue a key. Return its text and its kid."""
    found = version.json("keys", "issue", "--client", "acme", "--expires-in", "never")
    return found["key"], found["kid"]


def listed(version: Version, *options: str) -> list[str]:
    """Return the kids of all keys."""
    found = version.json("keys", "list", "--all", *options)
    return [one["kid"] for one in found["keys"]]


def test_commands_of_both_builds_beside_each_other(before: Version, present: Version) -> None:
    """Before `authz compact` of this version and after its --undo, both builds list all keys."""
    made = [issued(version) for version in (before, present, before, present)]
    kids = [kid for _, kid in made]
    for version in (before, present):
        assert listed(version) == listed(version, "--client", "acme") == kids
    before.run("keys", "update", kids[1], "--client", "other")
    present.run("keys", "update", kids[0], "--client", "other")
    before.run("keys", "revoke", kids[3])
    present.run("keys", "delete", kids[3])
    for version in (before, present):
        assert listed(version) == kids[:3]
        assert listed(version, "--client", "other") == kids[:2]
        assert listed(version, "--client", "acme") == kids[2:3]

    assert present.json("compact")["indexed"] == 3
    assert listed(present) == kids[:3]
    with Sidecar(before) as old, Sidecar(present) as new:
        for sidecar in (old, new):
            assert [sidecar.until(key, OK) for key, _ in made[:3]] == [OK] * 3
    # A command of the earlier build adds the kid of a key beside its short member.
    before.run("keys", "update", kids[0], "--name", "changed")
    late = issued(before)[1]
    assert set(listed(present)) == {*kids[:3], late}
    present.run("compact")
    assert listed(present) == [*kids[:3], late]

    present.run("compact", "--undo")
    for version in (before, present):
        assert listed(version) == [*kids[:3], late]
        assert listed(version, "--client", "other") == kids[:2]
        assert listed(version, "--client", "acme") == [kids[2], late]
