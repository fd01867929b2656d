"""`authz keys revoke --key-stdin` over the admin API revokes only a key that the text proves."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.remote.test_transcripts import OverApi
from tests.support.real import Valkey
from tests.support.storage import stored

TEXT = "sk-0123456789abcdef"


@pytest.fixture
def api(store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OverApi]:
    """Commands over the API of a store with one imported key."""
    with ExitStack() as stack:
        found = OverApi(store, stack)
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        line = f'{{"key": "{TEXT}", "client": "acme-web"}}'
        assert found.run("keys", "import", stdin=line.encode()).code == 0
        yield found


def kid_of(api: OverApi, client: str = "acme-web") -> str:
    """Return the kid of the one key of a client."""
    (record,) = api.run("keys", "list", "--client", client, "--json").document["keys"]
    return record["kid"]


def refused(api: OverApi, kid: str) -> str:
    """Return the line of a refused revocation by the text that names this kid."""
    done = api.run("keys", "revoke", "--key-stdin", stdin=TEXT.encode())
    assert (done.code, done.out) == (1, "")
    assert f"`authz keys revoke {kid}`" in done.err
    assert TEXT not in done.err
    return done.err


def test_an_alias_that_leads_to_another_key(api: OverApi, valkey: Valkey) -> None:
    """The key that the store names is not revoked."""
    assert api.run("keys", "issue", "--client", "other").code == 0
    other = kid_of(api, "other")
    (alias,) = valkey.admin.keys("authz:{0}:alias:*")
    valkey.admin.set(alias, other)
    assert "the store leads from this key to" in refused(api, other)
    assert stored.fields(valkey.admin, other)["status"] == "active"


def test_a_secret_that_the_record_has_forgotten(api: OverApi) -> None:
    """An earlier secret of the key is enough, until 5 rotations have removed it."""
    kid = kid_of(api)
    for _ in range(5):
        assert api.run("keys", "rotate", kid, "--grace", "0").code == 0
    assert "after 5 rotations" in refused(api, kid)


def test_an_earlier_secret(api: OverApi) -> None:
    """A secret that was rotated leads to its key."""
    kid = kid_of(api)
    assert api.run("keys", "rotate", kid, "--grace", "0").code == 0
    done = api.run("keys", "revoke", "--key-stdin", stdin=TEXT.encode())
    assert (done.code, done.out) == (0, f"{kid} is now revoked\n")


def test_a_record_that_was_altered(api: OverApi, valkey: Valkey) -> None:
    """A record with a wrong seal proves no imported key. A key that was made here is revoked."""
    kid = kid_of(api)
    stored.alter(valkey.admin, kid, name="x")
    done = api.run("keys", "revoke", "--key-stdin", stdin=TEXT.encode())
    assert (done.code, done.out) == (1, "")
    assert f"nothing is revoked: record {kid}: its seal is wrong" in done.err
    issued = api.run("keys", "issue", "--client", "other", "--json").document
    stored.alter(valkey.admin, issued["kid"], name="x")
    done = api.run("keys", "revoke", "--key-stdin", stdin=issued["key"].encode())
    assert (done.code, done.out) == (0, f"{issued['kid']} is now revoked\n")


def test_many_keys_of_which_one_was_altered(api: OverApi, valkey: Valkey) -> None:
    """The server revokes the key with a wrong seal among the others."""
    kid = kid_of(api)
    assert api.run("keys", "issue", "--client", "acme-web").code == 0
    stored.alter(valkey.admin, kid, name="x")
    done = api.run("keys", "revoke", "--client", "acme-web", "--yes", "--json")
    assert (done.code, done.document["failed"]) == (0, [])
    assert kid in done.document["revoked"]
    assert stored.fields(valkey.admin, kid)["status"] == "revoked"
