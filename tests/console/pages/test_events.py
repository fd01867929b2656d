"""The pages about events and their sinks."""

import re

from authz.core.notifications.ports import DeadLetter
from authz.core.roles import Role
from authz.storage.notifications import StoredLetters
from authz.wiring import administration
from tests.support.console.serving import Site, get, post, session_of

HOSTILE = "<img src=x onerror=alert(1)>"


async def test_events(site: Site) -> None:
    """Events are listed newest first, and narrowed by type and key."""
    kid, _ = await site.rig.issue(client_id="acme", name=HOSTILE)
    other, _ = await site.rig.issue(client_id="initech")
    page = await get(site, "/events")
    assert page.status == 200
    assert page.text.index(other) < page.text.index(kid)
    assert HOSTILE not in page.text
    assert "siem" in page.text
    narrow = await get(site, f"/events?type=authz.key.created&key={kid}")
    assert kid in narrow.text
    assert other not in narrow.text
    assert f"authz events list --type authz.key.created --kid {kid}" in narrow.text
    for query in ("type=a%20b", "key=x", "page=x", "type=%00"):
        assert (await get(site, f"/events?{query}")).status == 200, query


async def test_a_sink_and_its_dead_events(site: Site) -> None:
    """The events that a sink did not take are shown, and one button delivers them again."""
    async with administration.endpoint(site.rig.settings).client() as client:
        letter = DeadLetter("authz.key.revoked", "A" * 16, 30, f"answered 500 {HOSTILE}")
        await StoredLetters(client).put("siem", "30-0-0123456789ab", letter)
    page = await get(site, "/events/sinks/siem")
    assert "answered 500" in page.text
    assert HOSTILE not in page.text
    assert "Deliver all again" in page.text
    sent = await post(site, "/events/sinks/siem", {})
    assert re.search(r"1 events? will be delivered again", sent.text)
    for name in ("none", "..%2Fkeys", "%00"):
        assert (await get(site, f"/events/sinks/{name}")).status in {400, 404}, name


async def test_roles(site: Site) -> None:
    """An auditor of one tenant reads its events and no sinks; a viewer reads neither."""
    site.sessions.session = session_of(Role.AUDITOR, tenants=["north"])
    page = await get(site, "/events")
    assert (page.status, "Sinks</h2>" in page.text) == (200, False)
    assert (await get(site, "/events/sinks/siem")).status == 403
    site.sessions.session = session_of(Role.VIEWER)
    assert (await get(site, "/events")).status == 403
