"""The list of keys."""

from html import unescape
from urllib.parse import quote

import pytest

from authz.console.pages.key_filter import KeyFilter
from authz.core.filter import parse_filter
from tests.support.console.serving import Site, get

HOSTILE = (
    "<script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "{{ 7*7 }}",
    "=1+1",
    "\U0001f511",
)


async def test_an_empty_store(site: Site) -> None:
    """Without keys the page says how to begin."""
    page = await get(site, "/keys")
    assert page.status == 200
    assert "No keys yet" in page.text


async def test_search(site: Site) -> None:
    """A part of a name finds a key; a search without a result says so."""
    await site.rig.issue(client_id="a", name="the shop of Ada")
    await site.rig.issue(client_id="b", name="another")
    page = await get(site, "/keys?q=shop")
    assert "the shop of Ada" in page.text
    assert "another" not in page.text
    assert "authz keys list --name" in unescape(page.text)
    fragment = await get(site, "/keys?q=nothing", {"hx-request": "true"})
    assert "No key fits" in fragment.text
    assert "<html" not in fragment.text


async def test_pages(site: Site) -> None:
    """Every key is on exactly one page."""
    kids = {(await site.rig.issue(client_id="a"))[0] for _ in range(60)}
    first = (await get(site, "/keys?client=a")).text
    link = unescape(first.split(">Next page<")[0].rpartition('href="')[2].partition('"')[0])
    second = (await get(site, link)).text
    assert all((f"/keys/{kid}" in first) + (f"/keys/{kid}" in second) == 1 for kid in kids)
    assert "Next page" not in second


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_names_are_text(site: Site, text: str) -> None:
    """A stored name and a search are shown as text."""
    await site.rig.issue(client_id="a", name=text)
    for path in ("/keys", f"/keys?q={quote(text)}"):
        page = (await get(site, path)).text
        assert text in unescape(page)
        assert "<script>alert" not in page
        assert "<svg onload" not in page
        assert "49" not in page


def test_conditions_become_a_filter_and_options() -> None:
    """The filter of the API and the options of the command select the same keys."""
    chosen = KeyFilter.of([("q", 'a"\\b'), ("client", "acme"), ("status", "active"), ("x", "y")])
    selector = parse_filter("filter", chosen.text)
    assert selector.name is not None
    assert (selector.name.text, selector.client_id) == ('*a"\\b*', "acme")
    assert chosen.options() == ["--name", '*a"\\b*', "--status", "active", "--client", "acme"]
