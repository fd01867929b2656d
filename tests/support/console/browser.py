"""A real Chromium, and pages in it that note everything that must not happen."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import Browser, BrowserContext, Page, Playwright, async_playwright

ARGUMENTS: Final = ("--no-sandbox", "--disable-dev-shm-usage")  # root in a container
# Levels A and AA of WCAG 2.0, 2.1 and 2.2 (https://www.deque.com/axe/core-documentation).
TAGS: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
WIDTHS: Final = (360, 1440)
HEIGHT: Final = 900
PATIENCE: Final = 20_000  # ms

Scheme = Literal["light", "dark"]

# A policy violation is an event of the document; it is written to the console, which we read.
WATCH: Final = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP violation: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
window.alert = window.confirm = window.prompt = (text) => console.error(`dialog: ${text}`);
"""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run Chromium until the block ends. Skips the test if there is none."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=executable(playwright), args=list(ARGUMENTS)
        )
        yield browser
        await browser.close()


def executable(playwright: Playwright) -> str:
    """Return the path of Debian's Chromium, or of Playwright's own. Skips the test without one."""
    found = shutil.which("chromium") or shutil.which(playwright.chromium.executable_path)
    if found is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    return found


@dataclass
class Tab:
    """A page of one browser context. faults: console errors, violations, foreign requests."""

    page: Page
    url: str
    faults: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    @property
    def context(self) -> BrowserContext:
        """The context, which holds the cookies."""
        return self.page.context

    async def open(self, path: str) -> int:
        """Open a path of the site. Return the status."""
        response = await self.page.goto(f"{self.url}{path}")
        assert response is not None
        return response.status

    async def fault_free(self) -> None:
        """Fail if anything happened that must not."""
        assert self.faults == []

    async def violations(self) -> list[str]:
        """Return what axe finds against WCAG 2.2 AA on the page as it is shown now."""
        if not await self.page.evaluate("typeof axe !== 'undefined'"):
            await self.page.evaluate(AXE_SCRIPT)
        found: Any = await self.page.evaluate(
            "(tags) => axe.run({runOnly: {type: 'tag', values: tags}})", list(TAGS)
        )
        return [
            f"{one['id']}: {node['html'][:150]} {node['failureSummary'][:300]}"
            for one in found["violations"]
            for node in one["nodes"]
        ]

    async def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window (WCAG 1.4.10)."""
        wide: int = await self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return wide

    async def show(self, scheme: Scheme, width: int) -> None:
        """Change the color scheme and the width of the window, and wait until both are shown."""
        await self.page.emulate_media(color_scheme=scheme)
        await self.page.set_viewport_size({"width": width, "height": HEIGHT})
        await self.page.evaluate(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )


@asynccontextmanager
async def tab(
    browser: Browser, url: str, *, scripts: bool = True, expected: tuple[str, ...] = ()
) -> AsyncIterator[Tab]:
    """Open an empty tab in a new context.

    url: of the site, without a slash at its end. expected: parts of faults that are none here.
    """
    context = await browser.new_context(
        java_script_enabled=scripts, viewport={"width": WIDTHS[1], "height": HEIGHT}
    )
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    found = Tab(page, url)
    host = urlsplit(url).netloc

    def note(text: str) -> None:
        if not any(one in text for one in expected):
            found.faults.append(text)

    def asked(address: str) -> None:
        found.urls.append(address)
        parts = urlsplit(address)
        if parts.scheme not in {"data", "blob"} and parts.netloc != host:
            note(f"request to another host: {address}")

    await page.add_init_script(WATCH)
    page.on("console", lambda line: note(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: note(str(error)))
    page.on("request", lambda request: asked(request.url))
    try:
        yield found
    finally:
        await context.close()
