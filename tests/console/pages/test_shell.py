"""The shell of the console: static files, sessions, forms and faults."""

import json
import shutil
from pathlib import Path

import pytest

from authz.console.pages.static_files import ROOT, StaticFiles, check_vendored, manifest
from authz.core.roles import Role
from tests.support.console.serving import Site, get, post, session_of


def test_the_vendored_files_are_those_of_the_manifest(tmp_path: Path) -> None:
    """A file that differs, is missing or is not in the manifest is found."""
    for package in manifest(ROOT / "vendor")["packages"]:
        assert {"name", "version", "licence", "source", "files"} == package.keys()
    vendor = tmp_path / "vendor"
    shutil.copytree(str(ROOT / "vendor"), vendor)
    check_vendored(vendor)
    script = vendor / "htmx.min.js"
    script.write_bytes(script.read_bytes() + b" ")
    with pytest.raises(ValueError, match=r"htmx\.min\.js"):
        check_vendored(vendor)
    script.unlink()
    with pytest.raises(ValueError, match=r"htmx\.min\.js"):
        check_vendored(vendor)
    shutil.copy(str(ROOT / "vendor" / "htmx.min.js"), script)
    (vendor / "more.js").write_text("1")
    with pytest.raises(ValueError, match=r"more\.js"):
        check_vendored(vendor)


async def test_static_files_are_kept_for_ever_and_for_everybody(site: Site) -> None:
    """A file needs no session. Its URL changes with its content."""
    site.sessions.session = None
    url = StaticFiles().url("app.css")
    plain = await get(site, url)
    assert (plain.status, plain.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in plain.headers["cache-control"]
    assert (await get(site, "/static/app.css")).status == 404
    assert (await get(site, "/static/..%2fapp.py")).status == 404


async def test_a_page_needs_a_session(site: Site) -> None:
    """Without a session no page is made, and no call is sent."""
    site.sessions.session = None
    for path in ("/keys", "/keys?q=a"):
        page = await get(site, path)
        assert (page.status, page.text) == (401, "no session")


async def test_a_page_has_no_rights_of_its_own(site: Site) -> None:
    """The API refuses a visitor without a role, and the page says so. REST is not affected."""
    site.sessions.session = session_of()
    page = await get(site, "/keys")
    assert page.status == 403
    assert "your roles do not allow this method" in page.text
    answer = await get(site, "/v1/keys")
    assert (answer.status, json.loads(answer.text)["reason"]) == (401, "UNAUTHENTICATED")


async def test_the_tenant_of_the_visitor_bounds_the_list(site: Site) -> None:
    """Keys outside the visitor's tenant are not there."""
    await site.rig.issue(client_id="inside", tenant_id="eu")
    await site.rig.issue(client_id="outside", tenant_id="us")
    site.sessions.session = session_of(Role.VIEWER, tenants=["eu"])
    page = await get(site, "/keys")
    assert "inside" in page.text
    assert "outside" not in page.text
    assert page.headers["x-kept"] == "yes"


async def test_the_headers_of_every_page(site: Site) -> None:
    """Pages, fragments and errors have the same policy, and no cache keeps them."""
    for path in ("/keys", "/keys?page=wrong", "/keys?q=%22"):
        for headers in ({}, {"hx-request": "true"}):
            page = await get(site, path, headers)
            policy = page.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
            assert "unsafe" not in policy
            assert page.headers["cache-control"] == "no-store"


async def test_a_store_that_is_down(site: Site, valkey: object) -> None:
    """Without the store the page says so."""
    site.rig.process.readiness.leaving = "the test"
    page = await get(site, "/keys")
    assert page.status == 503
    assert "The store does not answer" in page.text
    assert (await post(site, "/keys", {})).status == 405
