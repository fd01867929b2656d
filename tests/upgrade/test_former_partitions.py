"""Sidecars and commands of the former version, which knows no partitions, on a store that has some.

And this version with partitions on a store of the former one.
"""

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.docs import ROOT
from tests.support.real import Valkey
from tests.upgrade import former
from tests.upgrade.former import OK, UNDECIDED, Sidecar, Version
from tests.upgrade.test_former_version import KEPT

COUNT = 8
NO_PEPPER = "the store's keys were made with pepper (none)"


class Untrusting(Sidecar):
    """A sidecar that has started once it says that the store is not ours."""

    def is_ready(self) -> bool:
        """Return whether it says so."""
        try:
            urllib.request.urlopen(f"http://{self.ops}/readyz", timeout=5).close()
        except urllib.error.HTTPError as answer:
            with answer:
                return NO_PEPPER in answer.read().decode()
        except OSError:
            return False
        return False


@pytest.fixture(scope="module")
def old_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the code of the former version."""
    return former.code(tmp_path_factory.mktemp("former"))


@pytest.fixture
def store() -> Iterator[Valkey]:
    """Yield an empty store."""
    with Valkey() as valkey:
        yield valkey


def test_the_former_version_refuses_a_divided_store(
    store: Valkey, tmp_path: Path, old_code: Path
) -> None:
    """Its sidecar answers 503, never 401, and its commands change nothing."""
    redis = {"url": store.url, "partitions": COUNT}
    present = Version(ROOT, former.settings(tmp_path, store, redis=redis))
    before = Version(old_code, former.settings(tmp_path, store))
    present.run("init")
    key = present.json("keys", "issue", "--client", "acme", "--expires-in", "never")["key"]
    kept = store.admin.hgetall("authz:meta")
    with Sidecar(present) as ours, Untrusting(before) as theirs:
        assert ours.ask(key) == OK
        assert theirs.ask(key) == UNDECIDED
    for words in (("keys", "list"), ("keys", "issue", "--client", "acme"), ("init",)):
        with pytest.raises(AssertionError, match=r"pepper|data is gone"):
            before.run(*words)
    assert store.admin.keys("authz:{0}:*") == []
    assert store.admin.hgetall("authz:meta") == kept


def test_partitions_on_a_store_of_the_former_version(store: Valkey, tmp_path: Path) -> None:
    """Commands name both numbers, and nothing is written."""
    former.restore(store, KEPT["store"])
    kept = sorted(store.admin.keys("*"))
    redis = {"url": store.url, "partitions": COUNT}
    present = Version(ROOT, former.settings(tmp_path, store, redis=redis))
    for words in (("init",), ("keys", "list"), ("keys", "issue", "--client", "acme")):
        with pytest.raises(AssertionError, match="partitions is 1, redis"):
            present.run(*words)
    assert sorted(store.admin.keys("*")) == kept
