"""The keyboard alone issues, finds and revokes a key, and live parts change in a real browser."""

import re

import pytest
import pytest_asyncio
from playwright.async_api import expect

from authz.core.records import Status
from authz.core.roles import Role
from authz.wiring.administration import administration
from tests.support.console.browser import chromium, tab
from tests.support.console.content import sidecars
from tests.support.console.installation import console_on

pytestmark = pytest.mark.asyncio(loop_scope="module")
STEPS = 80  # presses of Tab to get to any element

# The accessible name of the element with the focus, as far as our pages need it.
FOCUSED = """() => {
  const one = document.activeElement;
  const label = one.labels?.length ? one.labels[0].textContent : one.textContent;
  const seen = getComputedStyle(one).outlineStyle !== "none";
  return [one.tagName.toLowerCase(), label.replace(/\\s+/g, " ").trim(), seen];
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser():
    """A Chromium for all tests."""
    async with chromium() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def console(shared_valkey, tmp_path_factory):
    """A console with an empty store."""
    shared_valkey.reset()
    async with console_on(shared_valkey, tmp_path_factory.mktemp("console")) as running:
        yield running


async def tab_to(page, kind, name):
    """Press Tab until an element of this kind and name has the focus, and shows it."""
    for _ in range(STEPS):
        await page.keyboard.press("Tab")
        tag, label, is_marked = await page.evaluate(FOCUSED)
        if tag == kind and label.startswith(name):
            assert is_marked, f"{name}: the focus is not visible"
            return
    raise AssertionError(f"no {kind} {name!r} gets the focus")


async def test_the_keyboard_alone(browser, console):
    """Login, issue, search, open and revoke: no step needs a pointer, and each focus is seen."""
    async with tab(browser, console.url) as shown:
        page = shown.page
        _, text = await console.key(Role.ADMIN)
        await shown.open("/login")
        await tab_to(page, "input", "Key with an admin role")
        await page.keyboard.type(text)
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{console.url}/")
        await tab_to(page, "a", "Issue a key")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/keys/new")
        await tab_to(page, "input", "Client")
        await page.keyboard.type("acme")
        await tab_to(page, "input", "Name")
        await page.keyboard.type("typed by hand")
        await tab_to(page, "button", "Issue the key")
        await page.keyboard.press("Enter")
        await page.locator("#secret").wait_for()
        await shown.open("/keys")
        await tab_to(page, "input", "Search")
        await page.keyboard.type("by hand")
        await expect(page.locator("#rows tbody tr")).to_have_count(1)
        await tab_to(page, "a", "typed by hand")
        await page.keyboard.press("Enter")
        await page.wait_for_url(re.compile("/keys/[0-9A-Za-z]{16}$"))
        await tab_to(page, "a", "Revoke")
        kid = page.url.rpartition("/")[2]
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/revoke")
        await tab_to(page, "button", "Revoke")
        await page.keyboard.press("Enter")
        await page.wait_for_load_state()
        await page.get_by_text("revoked").first.wait_for()
        async with administration(console.rig.settings) as lifecycle:
            assert (await lifecycle.show(kid)).status is Status.REVOKED
        await shown.fault_free()


async def test_a_link_skips_the_navigation(browser, console):
    """The first Tab offers the way to the content, and Enter takes it."""
    async with tab(browser, console.url) as shown:
        await console.log_in(shown, Role.VIEWER, "/")
        await shown.open("/")
        await shown.page.keyboard.press("Tab")
        assert (await shown.page.evaluate(FOCUSED))[1] == "Skip to the content"
        await shown.page.keyboard.press("Enter")
        assert await shown.page.evaluate("document.activeElement.id") == "main"


async def test_sidecars_come_and_go(browser, console):
    """The page follows without a reload. When the session ends, it says so and asks no more."""
    async with tab(browser, console.url) as shown:
        await console.log_in(shown, Role.ADMIN, "/sidecars")
        async with sidecars(console.rig, 2):
            await shown.page.get_by_text("2 of 2 follow").wait_for()
        await (
            shown.page.get_by_text("not trusted")
            .or_(shown.page.get_by_text("No sidecar has connected"))
            .first.wait_for()
        )
        cookies = await shown.context.cookies()
        async with tab(browser, console.url) as other:
            await other.context.add_cookies(cookies)
            await other.open("/")
            await other.page.get_by_role("button", name="Log out").click()
            await other.page.wait_for_url(f"{console.url}/login")
        await shown.page.get_by_text("Not live: your session has ended").wait_for()
        await shown.fault_free()
