"""Publishable keys with real parts: a page in Chromium, Envoy with CORS, and the vendor's key."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.async_api import expect

from authz.cli.devconfig import ISSUER_HOST
from authz.console.token_endpoint import API_KEY, GRANT, TOKEN
from tests.support.browser_clients import (
    MARKED,
    VENDOR_KEY,
    add_vendor,
    allow_browsers,
    site,
    write_page,
)
from tests.support.console.browser import chromium
from tests.support.real import free_port
from tests.support.system import Installation, running, until

FORM = {"content-type": "application/x-www-form-urlencoded"}
WRONG_ORIGINS = [
    (),
    ("null",),
    ("",),
    ("http://evil.localhost",),
    ("{origin}0",),
    ("https{tail}",),
    ("http://app.localhost",),
    ("http://app.localhost.:{port}",),
    ("http://user@app.localhost:{port}",),
    ("{origin}/",),
    ("{origin} ", "{origin}"),
    ("{origin}", "http://evil.localhost"),
    ("{origin},{origin}",),
]


@pytest.fixture(scope="module")
def port() -> int:
    """Return the port of the site."""
    return free_port()


@pytest.fixture(scope="module")
def installation(port, tmp_path_factory) -> Iterator[Installation]:
    """An installation with the admin API, and with Envoy as docs/browsers.md says."""
    secret = tmp_path_factory.mktemp("envoy") / "vendor.yaml"
    origin = origin_of(port)
    with running(
        lambda manager: allow_browsers(manager, origin),
        with_admin=True,
        reshape=lambda whole: add_vendor(whole, secret),
    ) as (stack, _):
        found = Installation(stack)
        until(lambda: exchange(found, stack.key)[0], lambda status: status == 200)
        yield found


def origin_of(port: int) -> str:
    """Return the origin of the site."""
    return f"http://app.localhost:{port}"


@pytest.fixture
def public(installation, port):
    """Issue a publishable key for the site."""
    scopes = frozenset({"demo:read", "vendor:call"})
    return installation.issue(public=True, allowed_origins=(origin_of(port),), scopes=scopes)


def send(installation, method, path, body="", *, headers=(), host=""):
    """Return status, headers and document of a request through Envoy. headers: pairs."""
    netloc = urlsplit(installation.stack.envoy).netloc
    with closing(http.client.HTTPConnection(netloc, timeout=20)) as connection:
        connection.putrequest(method, path, skip_host=bool(host))
        for name, value in (*([("host", host)] if host else []), *headers):
            connection.putheader(name, value)
        connection.putheader("content-length", str(len(body)))
        connection.endheaders(body.encode())
        answer = connection.getresponse()
        text = answer.read()
        is_object = text.startswith(b"{")
        return answer.status, answer.headers, json.loads(text) if is_object else {}


def exchange(installation, key, *origins):
    """Return status, headers and document of the exchange of a key."""
    form = {"grant_type": GRANT, "subject_token_type": API_KEY, "subject_token": key}
    headers = [*FORM.items(), *(("origin", one) for one in origins)]
    return send(installation, "POST", TOKEN, urlencode(form), headers=headers, host=ISSUER_HOST)


def call(installation, path, *origins, **headers):
    """Return the status and the code of a GET, and the headers that the backend got."""
    pairs = [*headers.items(), *(("origin", one) for one in origins)]
    named = [(name.replace("_", "-"), value) for name, value in pairs]
    status, _, document = send(installation, "GET", path, headers=named)
    return f"{status} {document.get('code', '')}".strip(), document.get("headers", {})


async def test_a_page_exchanges_its_key_and_calls_with_the_token(
    installation, port, public, tmp_path
):
    """The page holds a publishable key alone, and the backend gets neither key nor token."""
    envoy = urlsplit(installation.stack.envoy).port
    issuer, api = f"http://{ISSUER_HOST}:{envoy}", f"http://api.localhost:{envoy}"
    write_page(tmp_path, issuer=issuer, api=api, key=public.key_text)
    faults: list[str] = []
    sent: list[Any] = []
    with site(tmp_path, port):
        async with chromium() as browser:
            page = await browser.new_page()
            page.on("console", lambda line: faults.append(line.text))
            page.on("request", lambda one: sent.append(one))  # noqa: PLW0108  no builtin
            await page.goto(f"{origin_of(port)}/index.html")
            await expect(page.locator("output")).not_to_be_empty(timeout=60_000)
            shown = await page.inner_text("output")
            await page.click("button")
            await page.wait_for_load_state("networkidle")

            other = await browser.new_page()
            await other.goto(f"http://evil.localhost:{port}/index.html")
            await expect(other.locator("output")).not_to_be_empty(timeout=60_000)
            refused = await other.inner_text("output")

    assert shown.startswith("200 "), (shown, faults)
    assert faults == []
    arrived = json.loads(shown[4:])["headers"]
    assert arrived["x-auth-key-id"] == public.record.kid
    assert len(arrived["x-auth-token-id"]) == 27
    assert "authorization" not in arrived
    assert "x-api-key" not in arrived
    exchanges = [one for one in sent if one.url == issuer + TOKEN and one.method == "POST"]
    assert len(exchanges) == 1  # the second call has the token already
    assert refused == "failed: Failed to fetch"
    for one in sent:
        told = f"{one.url} {one.headers} {one.post_data or ''}"
        assert "ak_live_" not in told
        assert one in exchanges or public.key_text not in told


@pytest.mark.parametrize("origins", WRONG_ORIGINS)
def test_the_exchange_needs_the_origin(installation, port, public, origins):
    """Any other Origin, none and several get the answer of a wrong key."""
    origin = origin_of(port)
    parts = {"origin": origin, "port": port, "tail": origin.removeprefix("http")}
    status, headers, document = exchange(
        installation, public.key_text, *(one.format(**parts) for one in origins)
    )

    assert (status, document["error"]) == (400, "invalid_request")
    assert document == exchange(installation, "nonsense")[2]
    assert "access-control-allow-origin" not in headers or len(origins) > 1


def test_a_publishable_key_opens_marked_routes_alone(installation, port, public):
    """A publishable key and a token of it are refused on each other route."""
    origin = origin_of(port)
    status, headers, document = exchange(installation, public.key_text, origin)
    assert status == 200
    assert headers["access-control-allow-origin"] == origin
    token = f"Bearer {document['access_token']}"

    for carried in ({"authorization": token}, {"x_api_key": public.key_text}):
        assert call(installation, f"{MARKED}/x", origin, **carried)[0] == "200"
        assert call(installation, f"{MARKED}/x", **carried)[0] == "403 origin_not_allowed"
        assert call(installation, f"{MARKED}/x", "null", **carried)[0] == "403 origin_not_allowed"
        for path in ("/", "/scoped", "/vendor/x"):
            assert call(installation, path, origin, **carried)[0] == "403 public_key_not_allowed"
    bearer = {"authorization": f"Bearer {public.key_text}"}
    assert call(installation, f"{MARKED}/x", origin, **bearer)[0] == "200"


def test_a_preflight_needs_no_key(installation, port):
    """Envoy answers it for the origin of the page, before authz is asked."""
    asked = [("access-control-request-method", "GET"), ("origin", origin_of(port))]
    status, headers, _ = send(installation, "OPTIONS", f"{MARKED}/x", headers=asked)
    assert (status, headers["access-control-allow-origin"]) == (200, origin_of(port))

    asked = [("access-control-request-method", "GET"), ("origin", "http://evil.localhost")]
    _, headers, _ = send(installation, "OPTIONS", f"{MARKED}/x", headers=asked)
    assert "access-control-allow-origin" not in headers


def test_envoy_adds_the_key_of_the_vendor(installation):
    """The vendor gets its key, and neither the caller's credential nor its identity."""
    issued = installation.issue(scopes=frozenset({"vendor:call"}))
    _, _, document = exchange(installation, issued.key_text)
    token = f"Bearer {document['access_token']}"

    for carried in ({"authorization": token}, {"x_api_key": issued.key_text}):
        status, arrived = call(installation, "/vendor/v1/x", **carried)
        assert status == "200"
        assert arrived["authorization"] == VENDOR_KEY
        assert not [name for name in arrived if name.startswith(("x-auth-", "x-api-key"))]
    mixed = {"authorization": "Bearer sk-mine", "x_api_key": issued.key_text}
    assert call(installation, "/vendor/v1/x", **mixed)[1]["authorization"] == VENDOR_KEY
    status, arrived = call(installation, "/", x_api_key=issued.key_text)
    assert (status, arrived.get("authorization")) == ("200", None)
    assert call(installation, "/vendor/v1/x")[0] == "401 missing_api_key"
