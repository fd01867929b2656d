"""The page of one key, and the changes of its record."""

import re
from html import unescape

from authz.core.begun_delivery import BegunDelivery
from authz.core.keys.seed import Seed
from authz.core.limits.limit import parse_limits
from authz.storage.deliveries import StoredDeliveries
from authz.wiring import administration
from tests.console.pages.test_issuing import hidden
from tests.support.console.serving import Site, get, post
from tests.support.console.usage import use

HOSTILE = "<script>alert(1)</script>"


async def test_show(site: Site) -> None:
    """The page shows record, limits with their use, secrets and history, all as text."""
    kid, text = await site.rig.issue(
        ["a:b"],
        client_id="acme",
        name=HOSTILE,
        limits=parse_limits("limits", ["5/s", "100/month"]),
        metadata={"note": HOSTILE},
    )
    page = await get(site, f"/keys/{kid}")
    assert page.status == 200
    assert "<script>alert" not in page.text
    assert unescape(page.text).count(HOSTILE) >= 3
    assert "0 of 100" in page.text
    assert text not in page.text
    assert f"authz keys show {kid}" in page.text
    history = await get(site, f"/keys/{kid}/history")
    assert "issue" in history.text


async def test_the_latest_denials(site: Site) -> None:
    """Denials say why and how often, and lead to a form that explains a request from there."""
    kid, _ = await site.rig.issue(client_id="acme")
    empty = await get(site, f"/keys/{kid}")
    assert "Latest denials" not in empty.text
    denied = {"reason": "insufficient_scope", "code": "403", "flags": "UAEX"}
    await use(site.rig, kid, 0, 0, address="198.51.100.9", **denied)
    for path in (f"/keys/{kid}", f"/keys/{kid}/explain"):
        text = (await get(site, path)).text
        assert "Latest denials" in text
        assert "insufficient scope" in text
        assert "198.51.100.0/24" in text
        assert f"/keys/{kid}/explain?method=GET&amp;address=198.51.100.0" in text
    explained = await get(site, f"/keys/{kid}/explain?method=GET&address=198.51.100.0")
    assert 'value="198.51.100.0"' in explained.text


async def test_no_such_key(site: Site) -> None:
    """A kid that is not there, or is none, gets a page that says so."""
    for kid in ("0" * 16, "x", "..%2f..%2fkeys", "%3Cb%3E"):
        page = await get(site, f"/keys/{kid}")
        assert page.status in {400, 404}, kid
        assert "<b>" not in page.text


async def test_edit(site: Site) -> None:
    """Only the fields that differ are sent. A field that is emptied becomes empty."""
    kid, _ = await site.rig.issue(["a:b"], client_id="acme", name="old", metadata={"a": "1"})
    page = await get(site, f"/keys/{kid}/edit")
    form = {
        "etag": hidden(page, "etag"),
        "client": "acme",
        "name": "new",
        "scopes": "a:b\na:c",
        "limits": "7/s",
        "expires": "keep",
        "do": "preview",
    }
    preview = await post(site, f"/keys/{kid}/edit", form)
    assert "Nothing was saved yet" in preview.text
    assert "old" in (await get(site, f"/keys/{kid}")).text
    saved = await post(site, f"/keys/{kid}/edit", form | {"do": "save", "note": "more"})
    assert (saved.status, "The key is changed" in saved.text) == (200, True)
    assert "a=1" in saved.text
    shown = unescape((await get(site, f"/keys/{kid}")).text)
    for part in ("new", "a:c", "7/s", "more"):
        assert part in shown
    history = (await get(site, f"/keys/{kid}/history")).text
    assert "<del>" in history
    again = await get(site, f"/keys/{kid}/edit")
    same = form | {"etag": hidden(again, "etag"), "do": "save"}
    assert "Nothing differs" in (await post(site, f"/keys/{kid}/edit", same)).text


async def test_the_end_of_a_key(site: Site) -> None:
    """The end is changed by a lifetime, a day or to none."""
    kid, _ = await site.rig.issue(client_id="acme")
    for expires, shown in (("365d", "in 364 d"), ("never", "never"), ("day", "2035-05-06 23:59")):
        page = await get(site, f"/keys/{kid}/edit")
        form = {"etag": hidden(page, "etag"), "client": "acme", "expires": expires}
        saved = await post(site, f"/keys/{kid}/edit", form | {"day": "2035-05-06", "do": "save"})
        assert saved.status == 200, unescape(saved.text)
        assert shown in (await get(site, f"/keys/{kid}")).text


async def test_a_stale_form_overwrites_nothing(site: Site) -> None:
    """If somebody was faster, the form shows the difference, and saves only when sent again."""
    kid, _ = await site.rig.issue(client_id="acme", name="one")
    mine = await get(site, f"/keys/{kid}/edit")
    theirs = {"etag": hidden(mine, "etag"), "client": "acme", "name": "theirs", "expires": "keep"}
    assert (await post(site, f"/keys/{kid}/edit", theirs | {"do": "save"})).status == 200
    form = theirs | {"name": "mine", "do": "save"}
    stale = await post(site, f"/keys/{kid}/edit", form)
    assert stale.status == 409
    assert "<del>theirs</del>" in stale.text
    assert "<ins>mine</ins>" in stale.text
    assert "theirs" in (await get(site, f"/keys/{kid}")).text
    again = form | {"etag": hidden(stale, "etag")}
    assert (await post(site, f"/keys/{kid}/edit", again)).status == 200
    assert "mine" in (await get(site, f"/keys/{kid}")).text


async def test_changes_with_a_question(site: Site) -> None:
    """A key is disabled, enabled, revoked and deleted; each result tells about the sidecars."""
    kid, _ = await site.rig.issue(client_id="acme")
    for verb, status in (("disable", "disabled"), ("enable", "active"), ("revoke", "revoked")):
        question = await get(site, f"/keys/{kid}/{verb}")
        form = {"etag": hidden(question, "etag"), "note": f"to {verb}"}
        if verb == "revoke":
            form["reason"] = "REVOCATION_REASON_KEY_COMPROMISE"
        done = await post(site, f"/keys/{kid}/{verb}", form)
        assert (done.status, "Confirmed by the fleet" in done.text) == (200, True)
        shown = (await get(site, f"/keys/{kid}")).text
        assert f'<span class="badge {status}">' in shown
        stale = await post(site, f"/keys/{kid}/{verb}", form)
        assert (stale.status, "Somebody has changed this key" in stale.text) == (409, True)
    assert "key compromise" in shown
    page = await get(site, f"/keys/{kid}/delete")
    deleted = await post(site, f"/keys/{kid}/delete", {"etag": hidden(page, "etag")})
    assert "The key is deleted" in deleted.text
    assert (await get(site, f"/keys/{kid}")).status == 404


async def test_a_pending_delivery(site: Site) -> None:
    """The page names the target, the question about an end says what it does, and it works."""
    kid, _ = await site.rig.issue(client_id="acme")
    plain = f"/keys/{kid}/retire"
    for path in (f"/keys/{kid}", plain):
        assert "The delivery of secret" not in (await get(site, path)).text
    rotated = f"/keys/{kid}/rotate"
    form = {"request_id": hidden(await get(site, rotated), "request_id"), "overlap": "604800s"}
    assert (await post(site, rotated, form)).status == 200
    about = (0, 86_400_000, 1, Seed(bytes(32), "1"), "alice", "")
    async with administration.endpoint(site.rig.settings).client() as client:
        entry = BegunDelivery("vault<b>", *about)
        await StoredDeliveries(client).begin(kid, entry.text())
    shown = " ".join((await get(site, f"/keys/{kid}")).text.split())
    assert "secret 2 to the target <bdi>vault&lt;b&gt;</bdi> is pending. It began" in shown
    assert "on 1970-01-02 00:00" in shown
    assert "Until the new secret has arrived, its holder needs the old one." in shown
    assert "End the old one" in shown
    question = await get(site, f"{plain}?secret=1")
    assert "is pending" in question.text
    assert "every request of the holder is denied until the new one arrives" in question.text
    form = {"etag": hidden(question, "etag"), "secret": "1"}
    assert "The secret has ended" in (await post(site, plain, form)).text
    ended = (await get(site, f"/keys/{kid}")).text
    assert "The old secret has ended: until the new one has arrived, its holder has none." in ended


async def test_explain(site: Site) -> None:
    """A request is explained check by check, without the text of the key."""
    kid, _ = await site.rig.issue(["a:read"], client_id="acme", allowed_hosts=("api.example.com",))
    path = f"/keys/{kid}/explain"
    page = await get(site, f"{path}?path=/x&host=api.example.com&scopes=a:read")
    assert "Allowed" in page.text
    denied = await get(site, f"{path}?path=/x&host=api.example.com&scopes=a:write")
    assert "Denied: insufficient scope" in denied.text
    assert "required a:write; held a:read" in denied.text
    assert "Denied: host not allowed" in (await get(site, f"{path}?path=/")).text
    wrong = await get(site, f"{path}?path=nowhere&address=x")
    assert (wrong.status, "Some fields need a change" in wrong.text) == (200, True)


async def test_explain_says_what_the_record_of_a_denial_does_not_have(site):
    """A denial leads to its explanation with its reason, and the page says what to fill in."""
    kid, _ = await site.rig.issue(client_id="acme")
    await use(site.rig, kid, 60, code="403", reason="insufficient_scope", flags="UAEX")
    page = await get(site, f"/keys/{kid}")
    assert "1 request, 1 denied" in page.text
    (link,) = re.findall(r'href="(/keys/[^"]+/explain\?[^"]+)"', page.text)
    told = await get(site, unescape(link))
    assert "was denied: <strong><bdi>insufficient scope</bdi></strong>" in told.text
    assert "Its record has no path" in told.text
    assert "Its record" not in (await get(site, f"/keys/{kid}/explain?path=/")).text
    denied = f"/keys/{kid}/explain?path=/&denied=expired"
    for made_up in (
        f"/keys/{kid}/explain?path=/&denied=Call+0123",
        f"{denied}&at=Call+0123",
        f"{denied}&route=Call+0123",
    ):
        assert "Call 0123" not in (await get(site, made_up)).text
