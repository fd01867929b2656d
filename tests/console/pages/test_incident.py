"""The incident view."""

import pytest

from authz.console.pages.formats import time_text
from authz.core.roles import Role
from authz.core.times import rfc3339
from authz.wiring import administration
from tests.support.console.serving import Page, Site, console_site, get, post, session_of
from tests.support.rpc.admin import admin_rig, admin_settings


async def found(site: Site, text: str) -> Page:
    """Send a leaked text. Follow the redirect to the one key that it proves."""
    page = await post(site, "/incident", {"text": text})
    location = page.headers.get("location", "")
    assert "ak_live" not in location
    return await get(site, location) if location else page


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "export AUTHZ_KEY='{}'",
        '{{"headers": {{"x-api-key": "{}"}}}}',
        "curl -H 'authorization: Bearer {}' https://api.example.com/\nsecond line",
    ],
)
async def test_a_whole_key(site: Site, line: str) -> None:
    """A key is found in the text around it. The page never has the text."""
    kid, text = await site.rig.issue(client_id="acme", name="Checkout")
    page = await found(site, line.format(text))
    assert "The text has a secret of this key that is right" in page.text
    assert kid in page.text
    assert text not in page.text
    assert text[:40] not in page.text


async def test_routes_hide_no_key(valkey, tmp_path_factory) -> None:
    """A key is proven whatever the routes of the settings require, also if they are all closed."""
    settings = admin_settings(valkey, tmp_path_factory.mktemp("console"))
    closed = settings.changed(routes_default="deny")
    async with admin_rig(closed) as rig, console_site(rig) as site:
        _, text = await rig.issue(client_id="acme")
        page = await found(site, text)
    assert "The text has a secret of this key that is right" in page.text


async def test_a_link_proves_nothing(site: Site) -> None:
    """A link that somebody made, or found for another key, does not say that a key has leaked."""
    kid, _ = await site.rig.issue(client_id="acme")
    _, other = await site.rig.issue(client_id="globex")
    location = (await post(site, "/incident", {"text": other})).headers["location"]
    mark = location.partition("?proven=")[2]
    assert mark
    for given in ("1", mark):
        page = await get(site, f"/incident/{kid}?proven={given}")
        assert "has a secret of this key that is right" not in page.text


async def test_revoke_and_report(site: Site) -> None:
    """The key is revoked as compromised with the confirmation of the fleet, and reported."""
    kid, _ = await site.rig.issue(client_id="acme", name="Check|out *now*")
    form = {"note": "a gist"}
    page = await post(site, f"/incident/{kid}", form)
    assert "Confirmed by the fleet" in page.text
    assert "Every request with it is denied" in page.text
    shown = (await get(site, f"/keys/{kid}")).text
    assert "key compromise" in shown
    assert "a gist" in shown
    report = await get(site, f"/incident/{kid}/report.md")
    assert report.headers["content-type"] == "text/markdown; charset=utf-8"
    assert "attachment" in report.headers["content-disposition"]
    assert "Check\\|out \\*now\\*" in report.text
    assert "- [x] Revoke the key" in report.text
    assert "- [ ] Issue a new key" in report.text


async def test_a_key_that_a_report_rotated(site: Site) -> None:
    """The first step says when the reported secret ends, until somebody rotates the key again."""
    kid, _ = await site.rig.issue(client_id="acme")
    about = "the reported secret 1"
    async with administration.administration(site.rig.settings) as lifecycle:
        leak = lifecycle.author("leaks/github", "leaked: a gist")
        await lifecycle.rotate(kid, 3_600_000, leak)
        (old, _) = (await lifecycle.show(kid)).secrets
        ends = time_text(rfc3339(old.retires_at))
        for path in (f"/incident/{kid}", f"/incident/{kid}/report.md"):
            text = (await get(site, path)).text
            assert f"{about} ends by {ends} UTC. The key itself need not be revoked." in text
            assert "Revoke the key, and wait" not in text
            assert "Issue a new key" not in text
        await lifecycle.retire(kid, "1", lifecycle.author("tests"))
        text = (await get(site, f"/incident/{kid}/report.md")).text
        assert f"- [x] A report has rotated the key: {about} ended on" in text
        await lifecycle.rotate(kid, 3_600_000, lifecycle.author("tests"))
    assert "- [ ] Revoke the key, and wait" in (await get(site, f"/incident/{kid}/report.md")).text


async def test_other_texts(site: Site) -> None:
    """A cut-off key, a forged one, several, and none are told apart."""
    kid, text = await site.rig.issue(client_id="acme")
    cut = await found(site, f"key={text[:40]}")
    assert "does not prove its secret" in cut.text
    assert f"/incident/{kid}" in cut.text
    forged = await found(site, text[:-1] + ("0" if text[-1] != "0" else "1"))
    assert "does not prove its secret" in forged.text
    other, second = await site.rig.issue(client_id="globex")
    both = await found(site, f"{text} and {second}")
    assert "2 keys in the text" in both.text
    assert other in both.text
    stranger = f"ak_live_{'0' * 16}_{text.split('_')[3]}"
    assert "does not exist" in (await found(site, stranger)).text
    assert "No key of this installation" in (await found(site, "nothing of interest here")).text


async def test_roles(site: Site) -> None:
    """A viewer finds the key and cannot revoke it. Keys outside are not there."""
    kid, text = await site.rig.issue(client_id="acme", tenant_id="us")
    site.sessions.session = session_of(Role.VIEWER)
    page = await found(site, text)
    assert "Your roles do not allow to revoke it" in page.text
    refused = await post(site, f"/incident/{kid}", {})
    assert "Every request with it is denied" not in refused.text
    site.sessions.session = session_of(Role.ADMIN, tenants=["eu"])
    assert "you may not see" in (await found(site, text)).text
    assert (await get(site, f"/incident/{kid}/report.md")).status == 404
