"""`authz admin token` and `authz admin whoami`, in this process."""

from pathlib import Path

import pytest

from tests.support.cli.terminal import run
from tests.support.identity.issuer import Issuer, serving


def whoami(credential: str, *options: str):
    """Return the outcome of `whoami` with a credential on stdin."""
    return run("admin", "whoami", *options, "--json", stdin=credential.encode())


def test_a_token_is_a_bound_key_with_a_role(store: Path):
    """A token is shown once, belongs to its tenant, and no backend accepts it."""
    made = run("admin", "token", "--role", "issuer", "--tenant", "acme", "--name", "bot")
    assert made.code == 0
    assert "issuer within tenant acme, until " in made.err
    assert "shown once" in made.err
    key = made.out.strip()
    found = whoami(key).document
    assert (found["kind"], found["kid"]) == ("key", key.split("_")[2])
    assert found["roles"] == [{"role": "issuer", "tenants": ["acme"], "projects": []}]
    assert found["own_key"] == []
    text = run("admin", "whoami", stdin=f"{key}\n".encode()).out
    assert "roles    issuer within tenant acme" in text
    verdict = run("keys", "verify", "--json", stdin=key.encode())
    assert verdict.document["reason"] == "host_not_allowed"


def test_a_token_ends_with_its_key(store: Path):
    """A revoked key is refused, and the reason is shown here."""
    made = run("admin", "token", "--role", "admin", "--json").document
    assert whoami(made["key"]).document["roles"][0]["role"] == "admin"
    run("keys", "revoke", made["kid"], "--reason", "key_compromise")
    found = whoami(made["key"])
    assert (found.code, found.document["refused"]) == (1, "key: revoked")


def test_restrictions_of_a_token_hold(store: Path):
    """The address of the caller counts, if the token has blocks."""
    options = ("--role", "viewer", "--cidr", "10.0.0.0/8", "--json")
    key = run("admin", "token", *options).document["key"]
    assert whoami(key).document["refused"] == "key: address_not_allowed"
    assert whoami(key, "--address", "10.1.2.3").code == 0


def test_a_holder_is_told(store: Path, monkeypatch):
    """Its own actions are those of the settings."""
    key = run("keys", "issue", "--client", "acme-web", "--json").document["key"]
    assert whoami(key).document["refused"] == "key: it has no role"
    monkeypatch.setenv("AUTHZ_ADMIN__SELF_SERVICE", '["read", "rotate"]')
    found = whoami(key).document
    assert (found["kind"], found["roles"], found["own_key"]) == ("holder", [], ["read", "rotate"])


def test_tokens_of_an_issuer_and_certificates(store: Path, monkeypatch):
    """The settings give the roles. An issuer that is down makes the answer unavailable."""
    uri = "spiffe://cluster.local/ns/ops/sa/deploy"
    monkeypatch.setenv("AUTHZ_ADMIN__CERTIFICATES", f'{{"{uri}": {{"role": "auditor"}}}}')
    found = run("admin", "whoami", "--certificate", uri, "--json").document
    assert (found["caller"], found["roles"][0]["role"]) == (f"cert:{uri}", "auditor")
    with serving(Issuer()) as issuer:
        monkeypatch.setenv("AUTHZ_ADMIN__OIDC__ISSUER", issuer.url)
        monkeypatch.setenv("AUTHZ_ADMIN__OIDC__AUDIENCE", "authz")
        monkeypatch.setenv("AUTHZ_ADMIN__OIDC__ROLES", '{"acme-team": {"role": "viewer"}}')
        token = issuer.token(exp=4_000_000_000)
        found = whoami(token).document
        assert (found["caller"], found["roles"][0]["role"]) == ("oidc:alice", "viewer")
        assert whoami(issuer.token(exp=1)).document["refused"] == "token: expired"
        issuer.down = True
        found = run("admin", "whoami", stdin=token.encode())
        assert (found.code, "cannot be judged now" in found.error) == (3, True)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("token",), "--role"),
        (("token", "--role", "king"), "king"),
        (("token", "--role", "viewer", "--expires-in", "never"), "--expires-in"),
        (("token", "--role", "viewer", "--expires-in", "366d"), "at most 365d"),
        (("token", "--role", "viewer", "--expires-in", "0"), "at most 365d"),
        (("token", "--role", "viewer", "--tenant", "a b"), "--tenant"),
        (("token", "--role", "viewer", "--cidr", "10.0.0.1/8"), "--cidr"),
        (("whoami",), "stdin: is empty"),
    ],
)
def test_bad_input_is_named(store: Path, arguments: tuple[str, ...], problem: str):
    """A mistake is wrong usage, in one line."""
    found = run("admin", *arguments, stdin=b"")
    assert found.code == 2
    assert problem in found.error
