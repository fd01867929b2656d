"""Credentials of commands over the admin API, and commands that need the store's machine."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli.terminal import Outcome, run
from tests.support.real import free_port
from tests.support.rpc.admin_command import AdminCommand

WRONG_KEY = "ak_live_7Hk2mQ9xT4bVzR1c_1AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def issued(*arguments: str) -> str:
    """Issue a key over the store. Return its text."""
    done = run("keys", "issue", "--client", "ops", *arguments)
    assert done.code == 0
    return done.out


@pytest.fixture
def server(store: Path) -> Iterator[AdminCommand]:
    """A running admin API on a Unix socket."""
    with AdminCommand(None, store, listen=f"unix:{store}/admin.sock") as running:
        running.address = f"unix:{store}/admin.sock"
        yield running


def test_a_token_file(server: AdminCommand, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key with a role, in a file, is a credential; options win over variables."""
    token = store / "token"
    token.write_text(issued("--scope", "authz:issuer"))
    monkeypatch.setenv("AUTHZ_ADMIN", server.address)
    monkeypatch.setenv("AUTHZ_ADMIN_TOKEN_FILE", str(token))
    done = run("keys", "issue", "--client", "a", "--json")
    assert done.code == 0
    kid = done.document["kid"]
    shown = run("--admin", "127.0.0.1:1", "keys", "show", kid, "--admin", server.address)
    assert f"kid                {kid}" in shown.out
    assert "key:" in run("keys", "history", kid).out
    # An issuer may not give more rights.
    done = run("keys", "update", kid, "--add-scope", "a:b")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("authz: ")
    token.write_text(WRONG_KEY)
    done = run("keys", "show", kid)
    assert done.code == 3
    assert done.error.startswith(f"authz: the admin API at {server.address} refuses the credential")
    monkeypatch.delenv("AUTHZ_ADMIN")
    assert run("keys", "show", kid).code == 0  # over the store


def test_no_server(store: Path) -> None:
    """A server that does not answer is told in one line, and nothing was changed."""
    token = store / "token"
    token.write_text(issued("--scope", "authz:admin"))
    address = f"127.0.0.1:{free_port()}"
    over = ("--admin", address, "--admin-token-file", str(token))
    done = run("keys", "issue", "--client", "a", *over)
    assert done.code == 3
    assert done.error.startswith(f"authz: the admin API at {address} does not answer: ")
    assert "may have been made" not in done.err


def test_a_page_continues(server: AdminCommand, store: Path) -> None:
    """The cursor of a page over the API continues the list there."""
    token = store / "token"
    token.write_text(issued("--scope", "authz:viewer"))
    kids = [run("keys", "issue", "--client", "p", "--json").document["kid"] for _ in range(3)]
    over = ("--admin", server.address, "--admin-token-file", str(token))
    listing = ("keys", "list", "--client", "p", "--limit", "2", "--json", *over)
    first = run(*listing).document
    second = run(*listing, "--cursor", first["next"]).document
    assert [key["kid"] for key in (*first["keys"], *second["keys"])] == kids
    assert second["next"] is None


def test_a_role_within_a_tenant(server: AdminCommand, store: Path) -> None:
    """A caller sees and changes the keys of its tenant alone, and learns nothing of others."""
    token = store / "token"
    token.write_text(issued("--scope", "authz:admin", "--tenant", "north"))
    over = ("--admin", server.address, "--admin-token-file", str(token))
    mine, other = (
        run("keys", "issue", "--client", "a", "--tenant", tenant, "--json").document["kid"]
        for tenant in ("north", "south")
    )
    listed = run("keys", "list", "--client", "a", "--json", *over).document
    assert [key["kid"] for key in listed["keys"]] == [mine]
    assert run("keys", "show", other, *over).error == f"authz: no key has the kid {other}"
    done = run("keys", "revoke", "--client", "a", "--yes", *over)
    assert (done.code, done.out) == (0, "client a: 1 revoked, 0 already revoked, 0 failed\n")
    assert run("keys", "show", other, "--json").document["status"] == "active"
    exported = run("keys", "export", "--client", "a", "--status", "revoked", "--json", *over)
    assert [key["kid"] for key in exported.document["keys"]] == [mine]
    assert exported.document["as_of"] == 0
    denied = run("sidecars", *over)
    assert denied.code == 1
    assert denied.error.startswith("authz: ")


def refused(*arguments: str) -> Outcome:
    """Run a command with --admin. It is wrong usage."""
    done = run(*arguments, "--admin", "127.0.0.1:1")
    assert done.code == 2
    assert done.error.startswith("authz: --admin: `authz ")
    return done


@pytest.mark.parametrize(
    "command",
    [
        *("init", "serve", "admin", "meter", "dev", "doctor", "backup out", "restore file"),
        *(
            "admin whoami --certificate a:b",
            "reseal",
            "compact",
            "audit seal",
        ),
        *("audit ship --to copy", "usage export --cursor c", "usage reconcile --file log"),
    ],
)
def test_commands_of_one_machine(no_store: Path, command: str) -> None:
    """A command that works with the store or the settings of a machine refuses --admin."""
    (no_store / "log").write_text("")
    (no_store / "file").write_text("")
    refused(*command.split())
    assert not (no_store / "out").exists()


def test_the_store_is_used_without_grpc(store: Path) -> None:
    """A command over the store does not import gRPC."""
    code = (
        "import sys\nfrom authz.cli.main import main\n"
        "code = main(['keys', 'list'])\nsys.exit(code or 'grpc' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=store, check=False, timeout=60)
    assert done.returncode == 0
