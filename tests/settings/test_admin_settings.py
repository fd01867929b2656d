"""Settings of the administration API: callers and roles."""

import pytest

from authz.core.access import Binding
from authz.core.errors import BadInput
from authz.core.roles import OwnAction, Role
from authz.settings import model


def read(tmp_path, text):
    """Return the settings of a file with this `admin` section."""
    file = tmp_path / "authz.yaml"
    file.write_text(f"admin: {text}\n")
    return model.load(file, environ={}).admin


def test_roles_and_self_service(tmp_path):
    """Groups, certificates and own actions become values of the core."""
    oidc = "{issuer: https://idp.example.com/r, audience: authz, ca: ca.pem, roles: {team: ROLE}}"
    role = "{role: issuer, tenants: [acme], projects: [web]}"
    certificates = "{'spiffe://c/ns/a/sa/b': {role: viewer}}"
    found = read(
        tmp_path,
        f"{{oidc: {oidc.replace('ROLE', role)}, certificates: {certificates}, "
        "self_service: [read, revoke]}",
    )
    bound = Binding(Role.ISSUER, frozenset({"acme"}), frozenset({"web"}))
    assert found.oidc.roles["team"].binding() == bound
    assert found.oidc.ca == tmp_path / "ca.pem"
    assert found.certificates["spiffe://c/ns/a/sa/b"].binding() == Binding(Role.VIEWER)
    assert found.own_actions() == {OwnAction.READ, OwnAction.REVOKE}


OIDC = "issuer: 'https://i.example.com', audience: a"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{oidc: {audience: a}}", r"admin\.oidc\.issuer: is needed here"),
        ("{oidc: {issuer: 'https://i.example.com'}}", r"admin\.oidc\.audience: is needed here"),
        ("{oidc: {issuer: 'http://i.example.com', audience: a}}", "https is needed"),
        (f"{{oidc: {{{OIDC}, jwks_url: 'http://i.example.com/k'}}}}", "https is needed"),
        (f"{{oidc: {{{OIDC}, clock_skew: 6m}}}}", "from 0 to 300s"),
        (f"{{oidc: {{{OIDC}, roles: {{team: {{role: king}}}}}}}}", r"roles\.team\.role"),
        (f"{{oidc: {{{OIDC}, roles: {{team: {{}}}}}}}}", r"roles\.team\.role: is needed here"),
        (f"{{oidc: {{{OIDC}, roles: {{role: {{role: admin, x: 1}}}}}}}}", "there are role, ten"),
        (f"{{oidc: {{{OIDC}, roles: {{t: {{role: admin, tenants: ['a b']}}}}}}}}", "tenants"),
        ("{certificates: {deployer: {role: viewer}}}", "a URI, such as spiffe"),
        ("{self_service: [read, read]}", "two of them are the same"),
        ("{self_service: [update]}", "'read', 'rotate' or 'revoke'"),
    ],
)
def test_refused(tmp_path, text, problem):
    """A mistake is named with its setting."""
    with pytest.raises(BadInput, match=problem):
        read(tmp_path, text)
