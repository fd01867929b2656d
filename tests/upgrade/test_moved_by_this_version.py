"""A store with data of the former version is moved to eight partitions, beside that version."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authz.storage.schema import DEFAULT
from tests.support.docs import ROOT
from tests.support.real import Valkey
from tests.upgrade import former
from tests.upgrade.former import OK, UNDECIDED, USED, Sidecar, Version
from tests.upgrade.test_former_version import EXPECTED, KEPT, codes

COUNT = 8


@pytest.fixture
def store() -> Iterator[Valkey]:
    """Yield a store with the data of the former version."""
    with Valkey() as valkey:
        former.restore(valkey, KEPT["store"])
        yield valkey


@pytest.fixture
def version(store: Valkey, tmp_path: Path) -> Version:
    """Return this version with eight partitions in its settings, and a store with one."""
    Version(ROOT, former.settings(tmp_path, store)).run("init")
    return Version(ROOT, former.settings(tmp_path, store, **partitions(store)))


def partitions(store: Valkey) -> dict[str, Any]:
    """Return the settings of that store with eight partitions."""
    return {"redis": {"url": store.url, "partitions": COUNT}}


def test_old_data_is_moved(version: Version, store: Valkey, tmp_path: Path) -> None:
    """The former version decides nothing any more. Every key works or is refused as before."""
    code = former.code(tmp_path / "code")
    (tmp_path / "former").mkdir()
    before = Version(code, former.settings(tmp_path / "former", store))
    with Sidecar(before) as old:
        assert codes(old) == EXPECTED
        count = store.admin.zcard(DEFAULT.keys)
        assert version.json("init", "--reshard", "--yes")["keys"] == count
        assert {old.until(key, UNDECIDED) for key in KEPT["keys"].values()} == {UNDECIDED}
    with pytest.raises((AssertionError, subprocess.CalledProcessError)):
        before.run("keys", "issue", "--client", "acme")
    version.run("audit", "verify")
    with Sidecar(version) as sidecar:
        assert codes(sidecar) == EXPECTED
        left = 10 - USED - 2  # one of the former sidecar, one of this
        answers = [sidecar.ask(KEPT["keys"]["credited"]) for _ in range(left + 1)]
        assert answers == [OK] * left + [429]


def test_a_running_sidecar_follows(store: Valkey, version: Version, tmp_path: Path) -> None:
    """A sidecar without redis.partitions decides on every key before and after the move.

    It knows changes that are made afterwards, and counts credits on.
    """
    (tmp_path / "follows").mkdir()
    follows = Version(ROOT, former.settings(tmp_path / "follows", store))
    with Sidecar(follows) as sidecar:
        assert codes(sidecar) == EXPECTED
        version.run("init", "--reshard", "--yes")
        assert codes(sidecar) == EXPECTED
        left = 10 - USED - 2
        answers = [sidecar.ask(KEPT["keys"]["credited"]) for _ in range(left + 1)]
        assert answers == [OK] * left + [429]
        version.run("keys", "revoke", KEPT["kids"]["plain"])
        assert sidecar.until(KEPT["keys"]["plain"], 401) == 401
