"""Login in a real browser: by key, by link, at an identity provider, and out again."""

import sqlite3
from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from authz.core.records import RevocationReason
from authz.core.roles import Role
from authz.wiring.administration import administration
from tests.support.console.browser import ARGUMENTS, WIDTHS, executable, tab
from tests.support.console.installation import console_on
from tests.support.identity.issuer import Issuer, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")
REFUSED = "the server responded with a status of 401"


async def test_a_key_logs_in_and_out(browser, console):
    """The key opens the page that was asked for; after the logout that page asks for a login."""
    async with tab(browser, console.url) as shown:
        await shown.open("/keys?status=active")
        assert shown.page.url == f"{console.url}/login?next=%2Fkeys%3Fstatus%3Dactive"
        _, text = await console.key(Role.VIEWER)
        await shown.page.get_by_label("Key with an admin role").fill(text)
        await shown.page.keyboard.press("Enter")
        await shown.page.wait_for_url(f"{console.url}/keys?status=active")
        (cookie,) = await shown.context.cookies()
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        await shown.page.get_by_role("button", name="Log out").click()
        await shown.page.wait_for_url(f"{console.url}/login")
        assert await shown.context.cookies() == []
        await shown.context.add_cookies([cookie])
        await shown.open("/keys")
        assert "/login" in shown.page.url  # a copy of the cookie is dead, too
        assert not any(text in url or cookie["value"] in url for url in shown.urls)
        await shown.fault_free()


async def test_a_refused_key(browser, console):
    """A refusal says the same for each reason, and does not show what was typed."""
    async with tab(browser, console.url, expected=(REFUSED,)) as shown:
        _, holder = await console.rig.issue(["orders:read"])
        seen = set()
        for text in ("letmein", "ak_live_0123", holder, holder[:-1] + "x"):
            await shown.open("/login")
            await shown.page.get_by_label("Key with an admin role").fill(text)
            await shown.page.keyboard.press("Enter")
            await shown.page.get_by_role("alert").wait_for()
            page = await shown.page.content()
            assert text not in page
            seen.add(page)
        assert len(seen) == 1
        assert await shown.violations() == []
        await shown.fault_free()


async def test_a_link_logs_in_once(browser, console):
    """The link opens the console; its token is in no address, no Referer and not in the history."""
    link = await console.link(Role.ADMIN)
    token = link.partition("#")[2]
    async with tab(browser, console.url, expected=(REFUSED,)) as shown:
        referers = []
        shown.page.on("request", lambda one: referers.append(one.headers.get("referer", "")))
        await shown.page.goto(link)
        await shown.page.wait_for_url(f"{console.url}/")
        await shown.page.go_back()
        await shown.page.wait_for_load_state()
        assert token not in shown.page.url
        assert not any(token in url for url in shown.urls[1:])
        assert not any(token in one for one in referers)
        await shown.page.goto(link)
        await shown.page.get_by_role("alert").wait_for()
        await shown.fault_free()


async def test_no_secret_is_left_on_the_disk(console, tmp_path):
    """Chromium's history of a whole profile has neither the key nor the token of a link."""
    _, text = await console.key(Role.ADMIN)
    link = await console.link(Role.ADMIN)
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            str(tmp_path / "profile"),
            executable_path=executable(playwright),
            args=list(ARGUMENTS),
        )
        page = await context.new_page()
        await page.goto(f"{console.url}/login?next=/keys")
        await page.get_by_label("Key with an admin role").fill(text)
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{console.url}/keys")
        await context.close()
    history = Path(tmp_path / "profile" / "Default" / "History")
    with sqlite3.connect(history) as database:
        urls = [row[0] for row in database.execute("SELECT url FROM urls")]
    assert f"{console.url}/keys" in urls
    assert not any(text in url or link.partition("#")[2] in url for url in urls)


async def test_logout_everywhere(browser, console):
    """One browser ends the sessions of all browsers that have the same key."""
    async with tab(browser, console.url) as one, tab(browser, console.url) as two:
        await console.log_in(one, Role.ISSUER)
        await console.log_in(two, Role.ISSUER)
        await two.page.get_by_role("button", name="everywhere").click()
        await two.page.wait_for_url(f"{console.url}/login")
        await one.open("/keys")
        assert "/login" in one.page.url


async def test_a_revoked_key_ends_its_sessions(browser, console):
    """The next request of the session asks for a login."""
    kid, text = await console.rig.issue([Role.ADMIN.scope])
    async with tab(browser, console.url) as shown:
        await shown.open("/login?next=/keys")
        await shown.page.get_by_label("Key with an admin role").fill(text)
        await shown.page.keyboard.press("Enter")
        await shown.page.wait_for_url(f"{console.url}/keys")
        async with administration(console.rig.settings) as lifecycle:
            await lifecycle.revoke(kid, RevocationReason.KEY_COMPROMISE, lifecycle.author("t"))
        await shown.open("/keys")
        assert "/login" in shown.page.url


async def test_login_at_the_identity_provider(browser, shared_valkey, tmp_path):
    """The browser goes to the provider and comes back to the page that it wanted."""
    with serving(Issuer()) as issuer:
        oidc = {
            "issuer": issuer.url,
            "audience": "authz",
            "roles": {"platform": {"role": "admin"}, "acme": {"role": "viewer"}},
        }
        pages = {"login": {"client_id": "console"}}
        issuer.login["email"] = "alice@example.com"
        async with console_on(shared_valkey, tmp_path, oidc=oidc, console=pages) as console:
            expected = ("another host", REFUSED)
            async with tab(browser, console.url, expected=expected) as shown:
                await shown.open("/keys")
                assert await shown.page.get_by_label("Key with an admin role").count() == 0
                await shown.page.get_by_role("link", name="Log in with your account").click()
                await shown.page.wait_for_url(f"{console.url}/keys")
                await shown.page.get_by_text("alice@example.com").wait_for()
                names = {
                    cookie["name"].rpartition("-")[0] for cookie in await shown.context.cookies()
                }
                assert names == {"authz-session"}
                issuer.login["groups"] = ["others"]
                await shown.context.clear_cookies()
                await shown.open("/login/oidc")
                await shown.page.get_by_role("alert").wait_for()
                await shown.open("/login/callback?code=x&state=y")
                await shown.page.get_by_role("alert").wait_for()
                await shown.fault_free()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/login", "/login/link"])
async def test_the_login_pages_are_accessible(browser, console, path, scheme):
    """axe finds nothing at either width, and nothing is wider than the window."""
    async with tab(browser, console.url) as shown:
        await shown.open(path)
        for width in WIDTHS:
            await shown.show(scheme, width)
            assert await shown.violations() == []
            assert await shown.overflow() <= 0
        await shown.fault_free()


async def test_a_login_without_scripts(browser, console):
    """The form of the login needs no script, and the page after it leads on."""
    async with tab(browser, console.url, scripts=False) as shown:
        await console.log_in(shown, Role.VIEWER)
        assert await shown.page.get_by_role("heading", name="Keys").count() == 1
