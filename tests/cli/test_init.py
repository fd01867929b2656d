"""`authz init`: the pepper and the store, also with concurrent runs."""

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from authz.core.errors import Unavailable
from authz.storage import schema
from authz.storage.keys import StoredKeys
from tests.support.cli.terminal import AUTHZ, execute, run
from tests.support.real import Valkey
from tests.support.storage import stored

PEPPER = "authz-pepper-1"


def test_a_pepper_is_a_secret_file(empty_store: Path) -> None:
    """A pepper has 64 random hex characters and mode 0600; beside it is the state file."""
    before = os.umask(0)
    try:
        assert run("init").code == 0
    finally:
        os.umask(before)
    file = empty_store / PEPPER
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_bytes()) == 64
    assert len(bytes.fromhex(file.read_text())) == 32
    assert sorted(os.listdir(empty_store)) == [f".{PEPPER}.state", PEPPER]


def test_two_stores_get_two_peppers(
    tmp_path: Path, empty_store: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs make different peppers."""
    run("init")
    first = (empty_store / PEPPER).read_text()
    valkey.reset()
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    run("init")
    assert (other / PEPPER).read_text() != first


def test_a_pepper_that_is_there_is_left_alone(empty_store: Path) -> None:
    """Content, mode and time of an existing pepper stay the same."""
    file = empty_store / PEPPER
    file.write_bytes(os.urandom(40))
    file.chmod(0o640)
    before = file.read_bytes(), file.stat()
    assert run("init", "--json").document["pepper_made"] is False
    assert (file.read_bytes(), file.stat().st_mode) == (before[0], before[1].st_mode)
    assert file.stat().st_mtime_ns == before[1].st_mtime_ns


def test_a_new_store_has_compact_records(store: Path, valkey: Valkey) -> None:
    """A new store has compact records from the start; `init` leaves the form of any other alone."""
    kid = run("keys", "issue", "--client", "a", "--json").document["kid"]
    assert valkey.admin.type(stored.key(kid)) == "string"
    assert valkey.admin.hdel(stored.META, "compact")
    assert run("init").code == 0
    assert not valkey.admin.hexists(stored.META, "compact")


def test_a_store_that_cannot_be_reached_leaves_nothing_behind(no_store: Path) -> None:
    """Without the store no pepper is made, and a later run succeeds."""
    assert run("init").code == 3
    assert os.listdir(no_store) == []


def test_a_store_that_goes_away_in_between_leaves_a_pepper_to_go_on_with(
    empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pepper whose fingerprint may be stored is kept, and a second run completes."""
    initialise = StoredKeys.initialise

    async def lost(self: StoredKeys, *wanted: Any, **options: bool) -> bool:
        await initialise(self, *wanted, **options)
        raise Unavailable("the store cannot be used: gone")

    with monkeypatch.context() as patched:
        patched.setattr(StoredKeys, "initialise", lost)
        assert run("init").code == 3
    made = (empty_store / PEPPER).read_bytes()
    assert run("init").code == 0
    assert (empty_store / PEPPER).read_bytes() == made
    assert run("keys", "issue", "--client", "a").code == 0


def test_who_loses_the_store_to_another_machine_keeps_no_pepper(
    empty_store: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loser of a race between two machines removes its pepper."""
    peppers = StoredKeys.peppers

    async def overtaken(self: StoredKeys) -> dict[str, str]:
        found = await peppers(self)
        if not found:
            meta = {schema.META_SCHEMA: str(schema.SCHEMA), f"{schema.META_PEPPER}1": "f" * 32}
            valkey.admin.hset(stored.META, mapping=meta)
        return found

    monkeypatch.setattr(StoredKeys, "peppers", overtaken)
    outcome = run("init")
    assert outcome.code == 3
    assert "pepper 1 is not the one" in outcome.error
    assert os.listdir(empty_store) == []


def test_two_at_once_on_one_machine_agree(empty_store: Path) -> None:
    """Two concurrent runs succeed with one pepper, and the keys made afterwards are good."""
    started = [
        subprocess.Popen([*AUTHZ, "init", "--json"], stdout=subprocess.PIPE) for _ in range(3)
    ]
    answers = [json.loads(process.communicate()[0]) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert sum(answer["pepper_made"] for answer in answers) == 1
    assert sorted(os.listdir(empty_store)) == [f".{PEPPER}.state", PEPPER]
    assert run("keys", "issue", "--client", "a").code == 0


def test_a_directory_without_permission_is_named(empty_store: Path) -> None:
    """The error names the file that could not be made."""
    outcome = execute(
        "init", env=os.environ | {"AUTHZ_KEYS__PEPPERS": '[{"file": "/proc/pepper"}]'}
    )
    assert outcome.code == 2
    assert outcome.error.startswith("authz: keys.peppers: /proc/pepper: ")


def test_index_of_imported_keys(empty_store: Path, valkey: Valkey) -> None:
    """If keys were imported and the index may lack some, init makes it; else it says nothing."""
    run("init")
    lines = "".join(json.dumps({"key": f"sk-{n:032}", "client": "acme"}) + "\n" for n in range(3))
    assert run("keys", "import", stdin=lines.encode()).code == 0
    assert "index of imported keys" not in run("init").out
    valkey.admin.delete(stored.IMPORTED)
    assert run("init", "--json").document["imported_keys_indexed"] == 3
    assert "imported_keys_indexed" not in run("init", "--json").document


def test_a_mistyped_namespace(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`authz init` does not begin a second installation because of a typo in the namespace."""
    monkeypatch.setenv("AUTHZ_REDIS__NAMESPACE", "stagging")
    refused = run("init")
    assert refused.code == 1
    assert "this pepper was used for no namespace of this store" in refused.error
    assert run("init", "--new-store").code == 0
    monkeypatch.setenv("AUTHZ_REDIS__NAMESPACE", "staging")
    assert "for the namespace 'stagging' of this store" in run("init").error
