"""A record with a wrong seal among the keys of one change, over the admin API."""

from pathlib import Path

from tests.support.cli.terminal import run
from tests.support.real import Valkey
from tests.support.rpc.admin_command import AdminCommand
from tests.support.storage import stored


def test_a_dry_run_shows_what_the_revocation_does(store: Path, valkey: Valkey) -> None:
    """A wrong seal hinders no revocation of many keys, so the dry run says the same."""
    (store / "token").write_text(
        run("keys", "issue", "--client", "ops", "--scope", "authz:admin").out
    )
    kids = {
        run("keys", "issue", "--client", "acme-web", "--json").document["kid"] for _ in range(3)
    }
    stored.alter(valkey.admin, min(kids), name="x")
    with AdminCommand(None, store) as server:
        over = ("--admin", server.address, "--admin-token-file", str(store / "token"))
        for verb, failures in (("disable", 1), ("revoke", 0)):
            command = ("keys", verb, "--client", "acme-web")
            by_store, by_api = (
                run(*command, "--dry-run", "--json", *options) for options in ((), over)
            )
            assert by_store.code == by_api.code == failures
            found, told = by_store.document["would_change"], by_api.document["would_change"]
            assert {one["kid"]: one for one in told} == {one["kid"]: one for one in found}
        done = run(*command, "--yes", "--json", *over)
        assert set(done.document["revoked"]) == kids
