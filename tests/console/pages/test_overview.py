"""The overview."""

from authz.core.roles import Role
from tests.support.console.serving import Site, get, session_of


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
