"""The overview."""

import time

import pytest
from jinja2 import UndefinedError

from authz.console.pages.rendering import Renderer
from authz.console.pages.static_files import StaticFiles
from authz.core.roles import Role
from authz.flows.by import By
from authz.storage import schema
from authz.wiring import administration
from authz.wiring.administration import abuse_control
from tests.support.console.serving import Site, get, session_of
from tests.support.console.usage import use


async def test_an_empty_installation(site: Site) -> None:
    """Without keys, requests and sidecars each part says so."""
    page = await get(site, "/")
    assert page.status == 200
    for text in ("No requests in this time", "No sidecar has connected", "Issue the first key"):
        assert text in page.text


async def test_the_newest_keys_and_the_latest_changes(site: Site) -> None:
    """The newest key is first. A viewer does not see the audit trail."""
    for name in ("first", "second"):
        await site.rig.issue(client_id="a", name=name)
    page = (await get(site, "/?span=30d")).text
    assert page.index("second") < page.index("first")
    assert "Latest changes" in page
    site.sessions.session = session_of(Role.VIEWER)
    page = (await get(site, "/")).text
    assert "Latest changes" not in page
    assert "Sidecars" in page
    site.sessions.session = session_of(Role.VIEWER, tenants=["eu"])
    page = (await get(site, "/")).text
    assert "Sidecars" not in page
    assert "second" not in page


async def test_keys_have_their_names_and_changes_without_a_key_no_link(site: Site) -> None:
    """The most used keys are told by their names. A change of the installation leads to no key."""
    kid, _ = await site.rig.issue(client_id="acme", name="the billing job")
    await use(site.rig, kid, 0)
    async with abuse_control(site.rig.settings) as abuse:
        await abuse.allow("198.51.100.0/24", By("ada@laptop").author())
    for path in ("/", "/usage"):
        page = (await get(site, path)).text
        most_used = page.partition("Most used keys")[2]
        assert "<bdi>the billing job</bdi>" in most_used, path
    page = (await get(site, "/")).text
    assert "<strong>allow network</strong>" in page
    assert 'href="/keys/"' not in page
    assert "198.51.100.0/24" in (await get(site, "/audit?action=allow_network")).text


async def test_a_count_in_the_audit_trail_is_a_whole_number(site: Site) -> None:
    """The API has numbers as floats. The page shows 1, not 1.0."""
    async with administration.endpoint(site.rig.settings).client() as client:
        end = time.time_ns() // 1_000_000 + 600_000
        await client.hset(schema.names_of(client).blocked, "198.51.100.7", end)
    async with abuse_control(site.rig.settings) as abuse:
        assert await abuse.clear([], By("ada@laptop").author()) == 1
    page = (await get(site, "/audit?action=clear_blocked_clients")).text
    assert "<bdi>1</bdi>" in page
    assert "1.0" not in page.partition("<main")[2]


async def test_a_visitor_without_a_role(site: Site) -> None:
    """Nothing is shown to a visitor without a role."""
    site.sessions.session = session_of()
    assert (await get(site, "/")).status == 403


async def test_the_store_is_down(site: Site) -> None:
    """The page says which part is missing."""
    await site.rig.issue(client_id="a", name="first")
    site.rig.process.readiness.leaving = "the test"
    page = await get(site, "/")
    assert (page.status, "The store does not answer" in page.text) == (200, True)
    assert "Usage is missing here" in page.text


async def test_members_that_the_api_leaves_out(site: Site) -> None:
    """A member that is 0 or empty is not in the answer of the API, and is 0 or empty on a page."""
    render = Renderer(StaticFiles(), "1").environment.from_string
    assert render("{{ a.b|int }} {{ a.b or 'no' }} {{ a.b|number }}").render(a={}) == "0 no 0"
    with pytest.raises(UndefinedError):
        render("{{ b }}").render(a={})
    kid, _ = await site.rig.issue(client_id="a")
    await use(site.rig, kid, 1)
    for path in ("/", "/usage", f"/keys/{kid}"):
        assert (await get(site, path)).status == 200
