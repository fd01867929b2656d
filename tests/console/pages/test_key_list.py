"""The list of keys."""

import csv
import io
import re
from html import unescape
from urllib.parse import quote

import pytest

from authz.console.pages import key_list
from authz.console.pages.key_filter import KeyFilter
from authz.core.filter import parse_filter
from authz.core.roles import Role
from authz.flows import selection
from authz.rpc.admin import key_lists
from tests.support.console.serving import Site, get, session_of

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
    assert "authz keys list --search shop" in unescape(page.text)
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
        assert "<bdi>49" not in page


def test_conditions_become_a_filter_and_options() -> None:
    """The filter of the API and the options of the command select the same keys."""
    chosen = KeyFilter.of(
        [("q", 'a"\\b'), ("client", "acme"), ("status", "active"), ("kind", "secret")]
    )
    selector = parse_filter("filter", chosen.text)
    assert selector.search is not None
    assert (selector.search.text, selector.client_id) == ('a"\\b', "acme")
    conditions = ["--search", 'a"\\b', "--status", "active", "--kind", "secret", "--client", "acme"]
    assert chosen.selecting() == conditions
    assert chosen.options() == [*conditions, "--sort", "-created"]


async def test_orders(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest key is first. Others orders are in the URL; too many keys stay unsorted."""
    for name in ("b", "c", "a"):
        await site.rig.issue(client_id="acme", name=f"name-{name}")

    async def order(query: str) -> list[str]:
        page = (await get(site, f"/keys?{query}")).text
        return re.findall(r"<bdi>name-(.)</bdi>", page)

    assert await order("") == ["a", "c", "b"]
    assert await order("sort=oldest") == ["b", "c", "a"]
    assert await order("sort=name") == ["a", "b", "c"]
    assert await order("sort=nonsense") == ["a", "c", "b"]
    monkeypatch.setattr(key_lists, "MAX_SORTED", 2)
    assert await order("sort=name") == ["a", "c", "b"]
    assert "would have to be sorted" in (await get(site, "/keys?sort=name")).text


async def test_a_kid_and_a_key_as_a_search(site: Site) -> None:
    """A kid finds its key. The text of a key does not stay in the URL."""
    kid, text = await site.rig.issue(client_id="a", name="wanted")
    await site.rig.issue(client_id="a", name="another")
    page = (await get(site, f"/keys?q={kid}")).text
    assert "wanted" in page
    assert "another" not in page
    redirect = await get(site, f"/keys?q={text}")
    assert (redirect.status, redirect.headers["location"]) == (303, f"/keys?q={kid}")
    assert text not in redirect.text


async def test_csv(site: Site) -> None:
    """The export has the keys that fit, and no cell that a spreadsheet would compute."""
    for number, text in enumerate(("=1+1", "+1", "-1", "@x", 'plain, "quoted"')):
        await site.rig.issue(client_id="acme", name=text, project_id=f"p{number}")
    await site.rig.issue(client_id="other", name="other")
    page = await get(site, "/keys.csv?client=acme")
    assert page.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(page.text)))
    assert [row["name"] for row in rows] == ["'=1+1", "'+1", "'-1", "'@x", 'plain, "quoted"']
    assert {row["status"] for row in rows} == {"active"}
    site.sessions.session = session_of(Role.VIEWER)
    assert (await get(site, "/keys.csv")).status == 403
    assert "keys.csv" not in (await get(site, "/keys")).text


async def test_a_long_search_comes_after_the_page(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page does not wait for a long search. The rows come when a script or a click asks."""
    await site.rig.issue(client_id="acme", name="the shop")
    monkeypatch.setattr(key_list, "FIRST_SECONDS", 0.0)
    page = await get(site, "/keys?q=shop")
    assert "Searching" in page.text
    assert "the shop" not in page.text
    (link,) = re.findall(r'<noscript><p><a class="button" href="([^"]*)"', page.text)
    (source,) = re.findall(r'<div id="rows"[^>]* hx-get="([^"]*)"', page.text)
    assert "the shop" in (await get(site, unescape(link))).text
    assert "the shop" in (await get(site, unescape(source), {"hx-request": "true"})).text
    assert "the shop" in (await get(site, "/keys")).text


async def test_a_search_goes_on_until_it_finds_a_key(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of the search that finds nothing leads to the next part, by a script or a click."""
    await site.rig.issue(client_id="acme", name="the oldest")
    for _ in range(3):
        await site.rig.issue(client_id="acme", name="others")
    monkeypatch.setattr(selection, "MAX_SCANNED", 2)
    page = await get(site, "/keys?q=oldest", {"hx-request": "true"})
    assert "Still searching" in page.text
    sources = re.findall(r'hx-get="([^"]*)" hx-trigger="load"', page.text)
    assert sources == re.findall(r'class="button" href="([^"]*page=[^"]*)">Go on', page.text)
    for _ in range(3):
        page = await get(site, unescape(sources[0]), {"hx-request": "true"})
        sources = re.findall(r'hx-get="([^"]*)" hx-trigger="load"', page.text)
        if not sources:
            break
    assert "the oldest" in page.text
