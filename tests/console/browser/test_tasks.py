"""Tasks of people who manage keys, in a real browser."""

import re

import pytest

from authz.core.roles import Role
from authz.flows import selection
from tests.support.console.browser import tab

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def press(shown, *keys: str) -> None:
    """Press keys, one after the other."""
    for key in keys:
        await shown.page.keyboard.press(key)


async def tab_to(shown, name: str) -> None:
    """Press Tab until the element with this name has the focus."""
    for _ in range(80):
        await shown.page.keyboard.press("Tab")
        focused = await shown.page.evaluate(
            """() => {
              const one = document.activeElement;
              const label = one.labels?.[0]?.textContent ?? "";
              return `${label} ${one.textContent} ${one.getAttribute("aria-label") ?? ""}`;
            }"""
        )
        if name in focused:
            return
    raise AssertionError(f"{name} cannot be reached")


async def test_keyboard_alone(browser, console) -> None:
    """A key is issued, found and revoked without a mouse."""
    async with tab(browser, console.url) as shown:
        await console.log_in(shown, Role.ADMIN)
        await tab_to(shown, "Issue a key")
        await press(shown, "Enter")
        await shown.page.get_by_role("heading", name="Issue a key").wait_for()
        await tab_to(shown, "Client ")
        await shown.page.keyboard.type("initech")
        await tab_to(shown, "Name")
        await shown.page.keyboard.type("Payroll in production")
        await press(shown, "Enter")  # the first button: a preview
        await shown.page.get_by_text("Nothing was issued yet").wait_for()
        await tab_to(shown, "Issue the key")
        await press(shown, "Enter")
        await shown.page.get_by_text("Copy it now").wait_for()
        text = await shown.page.locator("#secret").inner_text()
        assert re.fullmatch(r"ak_live_[0-9A-Za-z]{16}_[0-9A-Za-z]{61,}", text)
        await shown.open("/keys")
        await tab_to(shown, "Search")
        await shown.page.keyboard.type("payROLL")
        await shown.page.wait_for_url("**/keys?q=payROLL**")
        await shown.page.get_by_role("link", name="Payroll in production").wait_for()
        await tab_to(shown, "Pick Payroll in production")
        await press(shown, "Tab", "Enter")
        await shown.page.get_by_role("heading", name="Payroll in production").wait_for()
        await tab_to(shown, "Revoke")
        await press(shown, "Enter")
        await shown.page.get_by_role("heading", name="Revoke Payroll").wait_for()
        await tab_to(shown, "Revoke for ever")
        await press(shown, "Enter")
        await shown.page.get_by_text("Confirmed by the fleet").wait_for()
        await shown.page.go_back()
        assert not any(text in url for url in shown.urls)
        await shown.fault_free()


async def test_a_double_click_issues_one_key(browser, console) -> None:
    """Two clicks and a reload make one key, and show it again."""
    async with tab(browser, console.url) as shown:
        await console.log_in(shown, Role.ADMIN)
        await shown.open("/keys/new?client=doubled")
        await shown.page.get_by_role("button", name="Issue the key").dblclick()
        await shown.page.get_by_text("Copy it now").wait_for()
        text = await shown.page.locator("#secret").inner_text()
        await shown.page.reload()
        assert await shown.page.locator("#secret").inner_text() == text
        await shown.open("/keys?client=doubled")
        assert await shown.page.locator("tbody tr").count() == 1
        await shown.fault_free()


async def test_a_pasted_key_does_not_stay_in_the_search(browser, console) -> None:
    """The search field and the URL keep the id of the key only."""
    kid, text = await console.rig.issue(client_id="pasted", name="The pasted one")
    async with tab(browser, console.url) as shown:
        await console.log_in(shown, Role.VIEWER)
        await shown.page.get_by_label("Search", exact=True).fill(text)
        await shown.page.get_by_role("link", name="The pasted one").wait_for()
        assert await shown.page.get_by_label("Search", exact=True).input_value() == kid
        assert not any(text in url for url in [*shown.urls, shown.page.url])
        await shown.fault_free()


async def test_a_leaked_line(browser, console) -> None:
    """A pasted line leads to the key, to its revocation and to a report in three clicks."""
    _, text = await console.rig.issue(client_id="leaky", name="The leaked one")
    async with tab(browser, console.url) as shown:
        await console.log_in(shown, Role.ISSUER)
        await shown.open("/incident")
        await shown.page.get_by_label("Leaked text").fill(f"API_KEY={text} # do not commit")
        await shown.page.get_by_role("button", name="Find the key").click()
        await shown.page.get_by_text("The text has a secret of this key that is right").wait_for()
        await shown.page.get_by_role("button", name="Revoke for ever").click()
        await shown.page.get_by_text("Confirmed by the fleet").wait_for()
        async with shown.page.expect_download() as download:
            await shown.page.get_by_role("link", name="Report as Markdown").click()
        report = await (await download.value).path()
        assert text not in report.read_text()
        assert not any(text in url for url in shown.urls)
        await shown.fault_free()


async def test_several_leaked_keys_fit_a_telephone(browser, console) -> None:
    """The table of the keys scrolls by itself. The page does not."""
    texts = [(await console.rig.issue(client_id="leaky"))[1] for _ in range(2)]
    async with tab(browser, console.url) as shown:
        await console.log_in(shown, Role.ISSUER)
        await shown.show("light", 360)
        await shown.open("/incident")
        await shown.page.get_by_label("Leaked text").fill(" ".join(texts))
        await shown.page.get_by_role("button", name="Find the key").click()
        await shown.page.get_by_text("2 keys in the text").wait_for()
        assert await shown.overflow() <= 0


async def test_many_keys(browser, console) -> None:
    """All keys of a page are picked with one box, and disabled after a preview."""
    for number in range(3):
        await console.rig.issue(client_id="many", name=f"many {number}")
    async with tab(browser, console.url) as shown:
        await console.log_in(shown, Role.ADMIN)
        await shown.open("/keys?client=many")
        await shown.page.get_by_label("Pick all keys of this page").check()
        await shown.page.get_by_role("button", name="Continue").click()
        await shown.page.get_by_role("heading", name="Disable: 3 keys").wait_for()
        assert await shown.violations() == []
        await shown.page.get_by_role("button", name="Disable: 3 keys").click()
        await shown.page.get_by_text("Confirmed by the fleet").wait_for()
        assert await shown.page.get_by_text("changed", exact=True).count() == 3
        await shown.fault_free()


async def test_a_live_overview(browser, console) -> None:
    """A key that somebody else issues appears without a reload."""
    async with tab(browser, console.url) as shown:
        await console.log_in(shown, Role.VIEWER, then="/")
        await console.rig.issue(client_id="live", name="Issued elsewhere")
        await shown.page.get_by_text("Issued elsewhere").wait_for()
        assert await shown.violations() == []
        await shown.fault_free()


async def test_a_long_search(browser, console, monkeypatch) -> None:
    """A search of many parts goes on by itself until it finds the key."""
    await console.rig.issue(client_id="long", name="The needle")
    for number in range(9):
        await console.rig.issue(client_id="long", name=f"hay {number}")
    monkeypatch.setattr(selection, "MAX_SCANNED", 2)
    async with tab(browser, console.url) as shown:
        await console.log_in(shown, Role.VIEWER)
        await shown.page.get_by_label("Search", exact=True).fill("needle")
        await shown.page.get_by_role("link", name="The needle").wait_for()
        await shown.fault_free()
