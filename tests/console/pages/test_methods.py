"""A page changes something only at POST, with the token of its form."""

import asyncio
import http.client

import pytest

from tests.console.pages.test_bulk import badge
from tests.support.console.serving import Site, get


def _status(site: Site, method: str, path: str) -> int:
    connection = http.client.HTTPConnection(site.url.removeprefix("http://"), timeout=30)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("verb", ["revoke", "disable", "delete", "rotate", "edit"])
async def test_head_is_answered_as_get(site: Site, verb: str) -> None:
    """A HEAD request has no token of a form, so it changes nothing."""
    kid, _ = await site.rig.issue(name="one")
    before = (await get(site, f"/keys/{kid}/history")).text.count("<tr>")
    assert await asyncio.to_thread(_status, site, "HEAD", f"/keys/{kid}/{verb}") == 200
    assert await badge(site, kid) == "active"
    assert (await get(site, f"/keys/{kid}/history")).text.count("<tr>") == before


async def test_no_other_method_has_a_page(site: Site) -> None:
    """PUT, PATCH and DELETE of a page are refused, and change nothing."""
    kid, _ = await site.rig.issue(name="one")
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
        path = f"/keys/{kid}/revoke"
        assert await asyncio.to_thread(_status, site, method, path) in {404, 405}
    assert await badge(site, kid) == "active"
