"""Pages while the store or the identity provider is away: each says which part is missing."""

import http.client
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.console.pages.test_matrix import PAGES
from tests.support.console.installation import console_on
from tests.support.console.serving import Site, console_site, get, post
from tests.support.real import Valkey
from tests.support.rpc.admin import admin_rig, admin_settings

WITHOUT_STORE = ("/keys/new", "/incident", "/owners", "/settings")  # parts of them need no store


@pytest_asyncio.fixture
async def own(tmp_path: Path) -> AsyncIterator[tuple[Site, Valkey]]:
    """A console for an administrator, and the store behind it, which is its own."""
    with Valkey() as valkey:
        async with admin_rig(admin_settings(valkey, tmp_path)) as rig, console_site(rig) as site:
            yield site, valkey


async def test_every_page_while_the_store_is_away(own: tuple[Site, Valkey]) -> None:
    """A page says that the store does not answer, or shows what it has. No page is a bare fault."""
    site, valkey = own
    kid, _ = await site.rig.issue(client_id="acme")
    valkey.kill()
    wrong = []
    for path in (re.sub("KID|REVOKED|DISABLED", kid, page) for page in PAGES):
        page = await get(site, path)
        says = "store" in page.text
        is_bare = page.status not in {200, 503} or "<h1>" not in page.text
        if is_bare or not (says or path.startswith(WITHOUT_STORE)):
            wrong.append(f"{path}: {page.status} {page.text[-300:]}")
    assert not wrong, "\n".join(wrong)


async def test_no_form_pretends_while_the_store_is_away(own: tuple[Site, Valkey]) -> None:
    """A change says that nothing is certain, and keeps what the visitor has typed."""
    site, valkey = own
    kid, _ = await site.rig.issue(client_id="acme")
    valkey.kill()
    for path in ("revoke", "disable", "edit", "rotate"):
        page = await post(site, f"/keys/{kid}/{path}", {"etag": "1", "note": "typed by hand"})
        assert page.status == 503, (path, page.status)
        assert "store" in page.text, path
    page = await post(site, "/keys/new", {"client": "typed-by-hand", "do": "issue"})
    assert page.status == 503
    assert "typed-by-hand" in page.text


async def test_the_identity_provider_is_away(shared_valkey: Valkey, tmp_path: Path) -> None:
    """The login says that the provider does not answer, and does not lead the browser there."""
    shared_valkey.reset()
    oidc = {
        "issuer": "http://127.0.0.1:9",
        "audience": "authz",
        "roles": {"platform": {"role": "admin"}},
    }
    pages = {"login": {"client_id": "console"}}
    async with console_on(shared_valkey, tmp_path, oidc=oidc, console=pages) as console:
        page = await get(Site(console.url, None, console.rig), "/login/oidc")  # type: ignore[arg-type]
        assert page.status == http.client.SERVICE_UNAVAILABLE
        assert "identity provider" in page.text
