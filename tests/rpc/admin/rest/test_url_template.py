"""Paths of google.api.http rules."""

import pytest

from authz.rpc.admin.rest.url_template import UrlTemplate

KEY = "/v1/{name=keys/*}"


@pytest.mark.parametrize(
    ("template", "path", "found"),
    [
        ("/v1/keys", "/v1/keys", {}),
        ("/v1/keys", "/v1/keys/", None),
        ("/v1/keys", "/v1/keys:verify", None),
        ("/v1/keys", "/v2/keys", None),
        ("/v1/keys:verify", "/v1/keys:verify", {}),
        ("/v1/keys:verify", "/v1/keys", None),
        (KEY, "/v1/keys/abc", {"name": "keys/abc"}),
        (KEY, "/v1/keys/a%20b", {"name": "keys/a b"}),
        (KEY, "/v1/keys/a%2Fb", {"name": "keys/a/b"}),
        (KEY, "/v1/keys/", None),
        (KEY, "/v1/keys/abc:revoke", None),
        (KEY, "/v1/keys/abc/limits", None),
        (f"{KEY}:revoke", "/v1/keys/abc:revoke", {"name": "keys/abc"}),
        (f"{KEY}:revoke", "/v1/keys/a:b:revoke", {"name": "keys/a:b"}),
        ("/v1/{key.name=keys/*}", "/v1/keys/abc", {"key.name": "keys/abc"}),
        ("/v1/{parent=keys/*}/history", "/v1/keys/abc/history", {"parent": "keys/abc"}),
        ("/v1/{name=keys/*/limits}:reset", "/v1/keys/x/limits:reset", {"name": "keys/x/limits"}),
        ("/v1/things/{thing}", "/v1/things/x", {"thing": "x"}),
    ],
)
def test_match(template: str, path: str, found: dict[str, str] | None) -> None:
    """A path matches segment by segment, and a verb has to be the same."""
    assert UrlTemplate.parse(template).match(path) == found
