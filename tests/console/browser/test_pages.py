"""Every page in a real browser: as each role, light and dark, narrow and wide, with and without
scripts."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from authz.core.limits.limit import parse_limits
from authz.core.roles import Role
from tests.support.console.browser import WIDTHS, tab
from tests.support.console.installation import Console
from tests.support.console.usage import use

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = "<img src=x onerror=alert(1)>{{7*7}}\"'\u05d0\u05d1"
PAGES = {
    "/": "Overview",
    "/keys": "Keys",
    "/keys?q=nothing-like-this": "No key fits",
    "/keys/new": "Issue a key",
    "/keys/KID": "Limits",
    "/keys/KID?span=30d": "Denied by reason",
    "/keys/KID/history": "History",
    "/keys/KID/rotate": "Make a new secret",
    "/keys/KID/edit": "Save",
    "/keys/KID/revoke": "Revoke for ever",
    "/keys/KID/disable": "Disable the key",
    "/keys/KID/delete": "Delete for ever",
    "/keys/KID/explain?path=/&scopes=a:b": "insufficient scope",
    "/incident": "Leaked text",
    "/incident/KID": "Left to do",
}
READING = ("/", "/keys", "/keys/KID", "/keys/KID/history", "/keys/KID/explain?path=/")
DENIED = {"code": "403", "reason": "insufficient_scope", "flags": "UAEX", "charged": "-"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kid(console: Console) -> AsyncIterator[str]:
    """A key with hostile texts, limits and usage."""
    found, _ = await console.rig.issue(
        ["models:read"],
        client_id="globex",
        name=HOSTILE,
        plan="standard",
        limits=parse_limits("limits", ["100000/month", "5/s"]),
        metadata={"note": HOSTILE, "long": "x" * 200},
    )
    await use(console.rig, found, *range(0, 3000, 40))
    await use(console.rig, found, *range(0, 900, 60), **DENIED)
    yield found


@pytest.mark.parametrize("path", PAGES)
async def test_each_page(browser, console, kid, path) -> None:
    """No fault, no violation of WCAG 2.2 AA, and no scrolling to the side."""
    async with tab(browser, console.url) as shown:
        await console.log_in(shown, Role.ADMIN)
        assert await shown.open(path.replace("KID", kid)) == 200
        await shown.page.get_by_text(PAGES[path]).first.wait_for()
        for scheme in ("light", "dark"):
            for width in WIDTHS:
                await shown.show(scheme, width)
                assert await shown.violations() == []
                assert await shown.overflow() <= 0, (scheme, width)
        await shown.fault_free()


@pytest.mark.parametrize("role", Role)
async def test_each_role_reads(browser, console, kid, role) -> None:
    """Each role reads what it may. A page never offers a form that the API would refuse."""
    async with tab(browser, console.url) as shown:
        await console.log_in(shown, role)
        for path in READING:
            if "explain" in path and role is Role.AUDITOR:
                continue
            assert await shown.open(path.replace("KID", kid)) == 200, path
            links = await shown.page.locator("main a").evaluate_all(
                "(all) => all.map((one) => one.getAttribute('href'))"
            )
            for link in {one for one in links if one.startswith("/") and "/static" not in one}:
                if link.endswith("keys.csv?"):
                    continue
                response = await shown.context.request.get(f"{console.url}{link}")
                assert response.status == 200, (role, path, link)
        await shown.fault_free()


async def test_reading_without_scripts(browser, console, kid) -> None:
    """Without scripts every page is readable, and the search has a button."""
    async with tab(browser, console.url, scripts=False) as shown:
        await console.log_in(shown, Role.VIEWER)
        for path in READING:
            assert await shown.open(path.replace("KID", kid)) == 200
        await shown.open("/keys")
        await shown.page.get_by_label("Search", exact=True).fill("globex")
        await shown.page.get_by_role("button", name="Search").click()
        assert "q=globex" in shown.page.url
        assert HOSTILE in await shown.page.locator("tbody").inner_text()
        await shown.open(f"/keys/{kid}")
        await shown.page.get_by_text("As a table").click()
        assert await shown.page.locator("figure tbody tr").count() > 1


async def test_the_chart_is_drawn(browser, console, kid) -> None:
    """The chart has a canvas with pixels of the color of successful requests."""
    async with tab(browser, console.url) as shown:
        await console.log_in(shown, Role.VIEWER)
        await shown.open(f"/keys/{kid}?span=30d")
        await shown.page.locator(".chart canvas").wait_for()
        painted = await shown.page.evaluate(
            """() => {
              const canvas = document.querySelector(".chart canvas");
              const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
              let green = 0;
              for (let at = 0; at < all.data.length; at += 4)
                if (all.data[at] === 0x2e && all.data[at + 1] === 0x8b) green++;
              return green;
            }"""
        )
        assert painted > 100
        await shown.fault_free()
