"""Assertions with real parts: Envoy, a sidecar, the key set, and a backend's check."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from authz.console.assertion_keys import ASSERTION_KEYS
from tests.support.system import Installation, running

ISSUER, AUDIENCE = "https://gate.example.com", "orders"
ROUTES = [{"path": "/orders/**", "assertion": AUDIENCE}]
PAGE = Path(__file__).parents[2] / "docs" / "assertions.md"


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    """An installation whose routes below /orders ask for an assertion."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTHZ_IDENTITY__ASSERTION_ISSUER", ISSUER)
        patch.setenv("AUTHZ_ROUTES", json.dumps(ROUTES))
        with running(with_admin=True) as (stack, _):
            yield Installation(stack)


@pytest.fixture(scope="module")
def backend(installation) -> SimpleNamespace:
    """The check in docs/assertions.md, with the address of this installation's key set."""
    text = PAGE.read_text().partition("<!--assertion-check-->\n```python\n")[2].partition("```")[0]
    found = {"__name__": "backend"}
    exec(text, found)  # noqa: S102  our own page
    address = installation.settings.admin.http_listen
    found["KEYS"] = f"http://{address.host}:{address.port}{ASSERTION_KEYS}"
    return SimpleNamespace(**found)


def arrived(installation, path, key, **headers):
    """Return the headers that the backend gets."""
    with closing(installation.client()) as client:
        answer = client.get(path, x_api_key=key, **headers)
    assert answer.status == 200, str(answer)
    return answer.arrived


def test_a_backend_verifies_it_by_the_key_set_alone(installation, backend):
    """The check in the documentation returns the caller, whatever the client sent."""
    issued = installation.issue(scopes=frozenset({"orders:read"}), project_id="search")
    found = arrived(installation, "/orders/7", issued.key_text, x_auth_assertion="mine")
    said = backend.caller(found["x-auth-assertion"])

    assert (said["sub"], said["client_id"]) == (issued.record.kid, "acme")
    assert (said["project_id"], said["scope"]) == ("search", "orders:read")
    assert said["exp"] - said["iat"] == 60


def test_no_other_route_passes_one_on(installation, backend):
    """On a route that asks for none the client's own, also a good one, is removed."""
    issued = installation.issue()
    good = arrived(installation, "/orders/7", issued.key_text)["x-auth-assertion"]
    assert backend.caller(good)
    for own in (good, "mine"):
        assert "x-auth-assertion" not in arrived(
            installation, "/", issued.key_text, x_auth_assertion=own
        )


@pytest.mark.parametrize("change", ["signature", "claims", "header", "none", "token"])
def test_the_check_refuses_others(installation, backend, change):
    """A changed assertion, one without a signature and text that is no JWT are refused."""
    issued = installation.issue()
    good = arrived(installation, "/orders/7", issued.key_text)["x-auth-assertion"]
    head, body, signature = good.split(".")
    bad = {
        "signature": f"{head}.{body}.{'A' * len(signature)}",
        "claims": f"{head}.{body[:-4]}AAAA.{signature}",
        "header": f"{head[:-4]}AAAA.{body}.{signature}",
        "none": f"eyJhbGciOiJub25lIn0.{body}.",
        "token": "x",
    }[change]

    with pytest.raises(ValueError, match="no assertion"):
        backend.caller(bad)
