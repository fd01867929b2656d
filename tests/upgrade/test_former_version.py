"""Data and sidecars of the former version beside those of this one: docs/upgrade.md, both ways."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.docs import ROOT
from tests.support.real import Valkey
from tests.upgrade import former
from tests.upgrade.former import OK, UNDECIDED, USED, Sidecar, Version

KEPT: dict[str, Any] = json.loads(former.FIXTURE.read_text())
# The code of a Check with each key of the fixture. The client has no address of 10.0.0.0/8.
EXPECTED = dict.fromkeys(KEPT["keys"], OK) | {
    "bound": 403,
    "disabled": 401,
    "revoked": 401,
    "deleted": 401,
    "rotated": 401,
}


@pytest.fixture
def store() -> Iterator[Valkey]:
    """Yield a store with the data of the former version."""
    with Valkey() as valkey:
        former.restore(valkey, KEPT["store"])
        yield valkey


@pytest.fixture
def present(store: Valkey, tmp_path: Path) -> Version:
    """Return this version on that store, after its `authz init`."""
    version = Version(ROOT, former.settings(tmp_path, store))
    version.run("init")
    return version


@pytest.fixture(scope="module")
def old_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the code of the former version."""
    return former.code(tmp_path_factory.mktemp("former"))


@pytest.fixture
def before(store: Valkey, tmp_path: Path, old_code: Path) -> Version:
    """Return the former version on that store."""
    return Version(old_code, former.settings(tmp_path, store))


def codes(sidecar: Sidecar, wanted: dict[str, int] = EXPECTED) -> dict[str, int]:
    """Return the code of a Check with each key of the fixture, once it is the wanted one."""
    return {name: sidecar.until(key, wanted[name]) for name, key in KEPT["keys"].items()}


def issued(version: Version, *options: str) -> tuple[str, str]:
    """Issue a key that never expires. Return its text and its kid."""
    words = ("keys", "issue", "--client", "acme", "--expires-in", "never", *options)
    found = version.json(*words)
    return found["key"], found["kid"]


def test_old_data_is_read(present: Version) -> None:
    """Every key of the former version works or is refused as before, and credits go on."""
    with Sidecar(present) as sidecar:
        assert codes(sidecar) == EXPECTED
        left = 10 - USED - 1
        answers = [sidecar.ask(KEPT["keys"]["credited"]) for _ in range(left + 1)]
        assert answers == [OK] * left + [429]


def test_commands_read_and_change_old_data(present: Version) -> None:
    """Lists, changes and the audit trail go on where the former version ended."""
    present.run("audit", "verify")
    shown = present.json("keys", "show", KEPT["kids"]["plain"])
    assert (shown["client_id"], shown["project_id"], shown["tenant_id"]) == ("acme", "web", "eu")
    present.run("keys", "enable", KEPT["kids"]["disabled"])
    present.run("keys", "disable", KEPT["kids"]["plain"])
    with Sidecar(present) as sidecar:
        changed = EXPECTED | {"disabled": OK, "plain": 401}
        assert codes(sidecar, changed) == changed
    present.run("audit", "verify")


def test_old_data_can_be_sealed(present: Version, store: Valkey, tmp_path: Path) -> None:
    """After `authz reseal` the keys work in a sidecar that requires seals."""
    present.run("reseal")
    keys = {"peppers": [{"version": "1", "file": str(tmp_path / "pepper")}], "require_seals": True}
    strict = Version(ROOT, former.settings(tmp_path, store, keys=keys))
    with Sidecar(strict) as sidecar:
        assert codes(sidecar) == EXPECTED


def test_sidecars_of_both_versions_serve_one_store(before: Version, present: Version) -> None:
    """While sidecars are updated one after the other, both versions know each other's changes."""
    with Sidecar(before) as old, Sidecar(present) as new:
        assert codes(old) == EXPECTED
        assert codes(new) == EXPECTED
        by_new, its_kid = issued(present, "--limit", "1000/h", "--scope", "models:read")
        by_old, old_kid = issued(before, "--limit", "1000/h", "--scope", "models:read")
        for sidecar in (old, new):
            assert [sidecar.until(key, OK) for key in (by_new, by_old)] == [OK, OK]
        present.run("keys", "revoke", old_kid, "--reason", "key_compromise")
        before.run("keys", "revoke", its_kid, "--reason", "key_compromise")
        for sidecar in (old, new):
            assert [sidecar.until(key, 401) for key in (by_new, by_old)] == [401, 401]


def test_a_roll_back_reads_new_data(before: Version, present: Version) -> None:
    """The former version serves keys that this one issued, changed and sealed."""
    key, kid = issued(present, "--cidr", "10.0.0.0/8", "--limit", "10/s")
    present.run("keys", "update", kid, "--cidr", "192.0.2.0/24", "--name", "Changed")
    plain, _ = issued(present)
    present.run("reseal")
    with Sidecar(before) as old:
        assert codes(old) == EXPECTED
        assert (old.until(plain, OK), old.until(key, 403)) == (OK, 403)
        assert before.json("keys", "show", kid)["name"] == "Changed"


def test_a_roll_back_never_allows_what_it_cannot_read(before: Version, present: Version) -> None:
    """The former version refuses a key with a restriction that it does not know."""
    bytes_out, _ = issued(present, "--limit", "1000000/month,of=bytes_out")
    public, _ = issued(present, "--public", "--origin", "https://shop.example.com")
    with Sidecar(before) as old:
        assert (old.until(bytes_out, UNDECIDED), old.until(public, 401)) == (UNDECIDED, 401)
