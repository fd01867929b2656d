"""The pages about usage, owners, the audit trail, sidecars and settings, as texts."""

import asyncio
import csv
import http.client
import io
import re
from datetime import UTC, datetime, timedelta

import pytest

from authz.core.roles import Role
from authz.settings.model import load
from authz.settings.shown import shown_settings
from tests.support.console.content import fill, sidecars
from tests.support.console.serving import get, post, session_of
from tests.support.console.usage import use


async def test_usage_by_day_and_its_csv(site):
    """The page has the sums of a span, and the CSV has the same numbers by group."""
    kids = await fill(site.rig, requests=200)
    page = await get(site, "/usage")
    assert page.status == 200
    assert "200</strong>" in page.text
    # Earlier tests of this process have used charge ids, which are missing here.
    assert re.search(r"Of [\d\u202f]+ requests that sidecars answered", page.text)
    table = await get(site, "/usage.csv?by=day")
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert sum(int(row["requests"]) for row in rows) == 200
    one = await get(site, f"/usage.csv?key={kids[0]}&by=route")
    routes = {row["route"] for row in csv.DictReader(io.StringIO(one.text))}
    assert routes == {"orders", "models", "reports"}


async def test_cost_by_model(site):
    """The page and the CSV have tokens and cost of each model, and no such columns without any."""
    kid, _ = await site.rig.issue(client_id="chat")
    await use(site.rig, kid, 0)
    assert "Cost" not in (await get(site, "/usage?by=day")).text
    terms = "1,1,0,0,0;v1,1000000,2000000,500000,1000000,2000000,0"
    asked = {
        "version": "4",
        "model": "m-large",
        "settle": terms,
        "tokens": "complete:300:400:0:0:0",
    }
    await use(site.rig, kid, 0, **asked)
    page = await get(site, f"/usage?by=model&key={kid}")
    assert "m-large" in page.text
    assert "$0.0011" in page.text
    assert f"authz usage --key {kid}" in page.text
    table = await get(site, f"/usage.csv?by=model&key={kid}")
    (row,) = csv.DictReader(io.StringIO(table.text))
    assert (row["model"], row["inputTokens"], row["outputTokens"]) == ("m-large", "300", "400")
    assert row["microUsd"] == "1100"


async def test_usage_of_an_owner(site):
    """A question about a client counts the keys of this client only, and its command is shown."""
    kids = await fill(site.rig, requests=100)
    await use(site.rig, kids[2], 0)  # the other requests may be those of the month before
    since = datetime.now(UTC).date() - timedelta(days=300)
    until = since + timedelta(days=301)
    page = await get(site, f"/usage?client=acme&by=month&since={since}&until={until}")
    assert "4 keys" in page.text
    assert f"authz usage --client acme --since {since}T00:00:00Z" in page.text
    owner = await get(site, "/owners/client?id=acme")
    assert owner.status == 200
    assert owner.text.count("acme production") == 2 * owner.text.count("production 0")
    index = await get(site, "/owners")
    assert '<a href="/owners/client?id=initech">' in index.text
    assert (await get(site, "/owners/galaxy?id=x")).status == 303


@pytest.mark.parametrize(
    "query", ["since=x", "by=eon", "key=none", "client=%00", "until=0001-01-01", "since=9999-12-31"]
)
async def test_questions_that_make_no_sense(site, query):
    """A garbled question is answered by the page, never by a fault."""
    for path in ("/usage", "/usage.csv", "/audit", "/audit.csv", "/owners/client"):
        assert (await get(site, f"{path}?{query}")).status in {200, 303, 400, 404}, path


async def test_the_audit_trail(site):
    """Entries are listed newest first, with their author, and can be narrowed and exported."""
    kids = await fill(site.rig, requests=1)
    page = await get(site, f"/audit?key={kids[2]}")
    assert page.text.index("<strong>revoke</strong>") < page.text.index("<strong>issue</strong>")
    assert "authz audit list --kid" in page.text
    assert "<strong>revoke</strong>" not in (await get(site, "/audit?action=disable")).text
    table = await get(site, "/audit.csv?actor=ada@laptop")
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [row["action"] for row in rows] == ["revoke", "disable", "rotate"]


async def test_the_trail_is_verified(site):
    """The result says that the trail is intact; after an entry was altered it names that row."""
    await fill(site.rig, requests=1)
    assert "The audit trail is intact" in (await post(site, "/audit/verify", {})).text
    from authz.storage import schema
    from authz.wiring.administration import endpoint

    async with endpoint(site.rig.settings).client() as client:
        ((row, fields),) = await client.xrange(schema.DEFAULT.audit, count=1)
        await client.xdel(schema.DEFAULT.audit, row)
        await client.xrange(schema.DEFAULT.audit, count=1)
        assert fields
    assert "not intact" in (await post(site, "/audit/verify", {})).text


async def test_pages_of_a_role(site):
    """A page that the role does not allow is refused, and no page links to it."""
    site.sessions.session = session_of(Role.VIEWER)
    assert (await get(site, "/audit")).status == 403
    assert (await get(site, "/audit.csv")).status == 403
    assert (await post(site, "/audit/verify", {})).status == 403
    home = (await get(site, "/usage")).text
    assert 'href="/sidecars"' in home
    assert 'href="/audit"' not in home
    site.sessions.session = session_of(Role.ADMIN, tenants=["north"])
    assert (await get(site, "/sidecars")).status == 403
    assert "redis.url" not in (await get(site, "/settings")).text


async def test_a_tenant_sees_its_own_numbers_only(site):
    """Sums, owners and exports of a visitor of one tenant have nothing of another one."""
    await fill(site.rig, requests=300)
    site.sessions.session = session_of(Role.ADMIN, tenants=["south"])
    for path in ("/usage", "/owners", "/audit", "/owners/client?id=acme", "/audit.csv"):
        page = await get(site, path)
        assert page.status == 200, path
        assert "acme production" not in page.text
        assert "billing" not in page.text


async def test_sidecars_are_shown_live(site):
    """An event comes at once, and the next one when a sidecar has gone; then the stream goes on."""
    async with sidecars(site.rig, 2):
        page = await get(site, "/sidecars")
        for _ in range(100):
            if "2 of 2 follow" in page.text:
                break
            await asyncio.sleep(0.05)
            page = await get(site, "/sidecars")
        assert "2 of 2 follow" in page.text
        events = await asyncio.to_thread(first_event, site.url)
        assert "2 of 2 follow" in events
        assert "<script" not in events


async def test_events_end_with_the_session(site):
    """A session that has ended gets no further event, and the browser is told not to come back."""
    connection = http.client.HTTPConnection(site.url.removeprefix("http://"), timeout=30)

    def begin() -> http.client.HTTPResponse:
        connection.request("GET", "/sidecars/events", headers={"accept": "text/event-stream"})
        return connection.getresponse()

    response = await asyncio.to_thread(begin)
    await asyncio.to_thread(response.readline)
    site.sessions.session = None
    rest = await asyncio.to_thread(response.read)
    connection.close()
    assert rest.decode().rstrip().endswith("event: over\ndata:")


def first_event(url: str) -> str:
    """Return the data of the first event."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    connection.request("GET", "/sidecars/events?part=table")
    response = connection.getresponse()
    found = []
    while line := response.readline().decode():
        if line.startswith("data: "):
            found.append(line)
        elif found:
            break
    connection.close()
    return "".join(found)


async def test_without_the_store(site):
    """Each page says which part is missing and shows the rest, with no fault."""
    site.rig.process.readiness.leaving = "gone"
    for path in ("/usage", "/sidecars", "/settings", "/owners"):
        page = await get(site, path)
        assert page.status in {200, 503}, path
        assert "missing" in page.text or "does not answer" in page.text


def test_settings_are_shown_without_secrets():
    """Passwords in URLs and addresses of webhooks are hidden; paths of files are not."""
    sink = {"kind": "slack", "url": "https://hooks.example.com/services/T000/B000"}
    settings = load(
        None,
        {"events": {"sinks": {"chat": sink}}, "redis": {"url": "redis://u:hunter2@127.0.0.1/0"}},
        {},
    )
    shown = dict(shown_settings(settings))
    assert shown["redis.url"] == "redis://(hidden)@127.0.0.1/0"
    assert shown["events.sinks.chat.url"] == "https://hooks.example.com/(hidden)"
    assert "hunter2" not in str(shown)
    assert shown["keys.peppers.1.file"].endswith("authz-pepper-1")
    assert shown["admin.socket_mode"] == "0660"
