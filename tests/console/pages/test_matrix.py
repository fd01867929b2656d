"""Every page in a real browser: as each role, light and dark, narrow and wide, with and without
scripts."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from starlette.routing import Route, compile_path

from authz.console.login.site import LoginParts, site_routes
from authz.core.roles import Role
from tests.support.console.browser import Tab, chromium, tab
from tests.support.console.content import fill, sidecars
from tests.support.console.installation import Console, console_on
from tests.support.console.serving import console_site, get, session_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGES = (
    *("/", "/?span=30d", "/keys", "/keys?q=acme&status=active", "/keys?q=nothing-has-this-name"),
    *("/keys/new", "/keys/KID", "/keys/KID?span=30d", "/keys/KID/history", "/keys/KID/rotate"),
    *("/keys/KID/edit", "/keys/KID/revoke", "/keys/KID/disable", "/keys/KID/retire?secret=1"),
    *("/keys/KID/explain?path=/&method=GET", "/keys/REVOKED", "/keys/REVOKED/delete"),
    *("/keys/DISABLED", "/keys/DISABLED/enable", "/keys/zzzzzzzzzzzzzzzz", "/incident"),
    *("/incident/KID", "/incident/REVOKED"),
    *("/owners", "/owners/client?id=acme", "/owners/tenant?id=nobody", "/usage"),
    *(
        "/anomalies",
        "/usage?by=route&client=acme",
        "/usage?by=model",
        "/audit",
        "/audit?action=revoke",
        "/sidecars",
        "/settings",
    ),
    *("/events", "/events?type=authz.key.revoked", "/events?key=x", "/events/sinks/siem"),
)
NOT_PAGES = {"/logout", "/login/callback", "/login/oidc", "/static/{name}"}
LIVE = re.compile("/sidecars/events$|/events/latest$")
# The forms that a viewer can send: a logout, and the search for the key of a leaked text.
FOR_VIEWERS = {"/logout", "/incident"}
REFUSED = "the server responded with a status of 4"


@dataclass(frozen=True)
class Shown:
    """A console with content, and the kids of keys in three states."""

    console: Console
    kids: dict[str, str]

    def path(self, page: str) -> str:
        """Return the path of a page, with the kids in place."""
        for name, kid in self.kids.items():
            page = page.replace(name, kid)
        return page


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shown(shared_valkey, tmp_path_factory) -> AsyncIterator[Shown]:
    """A console with content."""
    shared_valkey.reset()
    async with console_on(shared_valkey, tmp_path_factory.mktemp("console")) as console:
        kids = await fill(console.rig, requests=200)
        async with sidecars(console.rig, 2):
            named = {"KID": kids[0], "DISABLED": kids[1], "REVOKED": kids[2]}
            yield Shown(console, named)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser():
    """A Chromium for all tests."""
    async with chromium() as running:
        yield running


async def check(shown_tab: Tab, path: str, *, everything: bool) -> None:
    """Open a page and look at it in both schemes and widths. Fail with all that is wrong.

    everything: look for violations in each scheme and in each width, else in one of them.
    """
    wrong = []
    status = await shown_tab.open(path)
    if status >= 500:
        wrong.append(f"status {status}")
    for scheme, width in (("light", 360), ("dark", 1440), ("light", 1440), ("dark", 360)):
        await shown_tab.show(scheme, width)
        if (scheme, width) == ("light", 360) or (everything and (scheme, width) == ("dark", 1440)):
            wrong += [f"{scheme} {width}: {one}" for one in await shown_tab.violations()]
        wide = await shown_tab.overflow()
        if wide > 0:
            wrong.append(f"{scheme} {width}: {wide} pixels too wide")
    wrong += shown_tab.faults
    shown_tab.faults.clear()
    assert not wrong, "\n".join([path, *wrong])


@pytest.mark.timeout(900)  # a busy machine
@pytest.mark.parametrize("role", list(Role))
async def test_every_page(browser, shown, role):
    """No page has a fault, a violation of WCAG 2.2 AA or a request to another host."""
    async with tab(browser, shown.console.url, expected=(REFUSED,)) as one:
        await shown.console.log_in(one, role, "/")
        problems = []
        for page in PAGES:
            try:
                await check(one, shown.path(page), everything=role is Role.ADMIN)
            except AssertionError as problem:
                problems.append(str(problem))
        assert not problems, "\n\n".join(problems)


async def test_a_viewer_sees_no_form_that_changes(shown):
    """A viewer sees no form that would be refused, and no page offers a way to one."""
    async with console_site(shown.console.rig) as site:
        site.sessions.session = session_of(Role.VIEWER)
        wrong = []
        for page in PAGES:
            text = (await get(site, shown.path(page))).text
            actions = re.findall(r'<form[^>]*method="post"[^>]*action="([^"]*)"', text)
            links = re.findall(r'href="(/keys/(?:new|[^"/]+/(?:edit|revoke|rotate|delete)))"', text)
            found = {*actions, *links} - FOR_VIEWERS
            wrong += [f"{page}: {one}" for one in sorted(found)]
        assert not wrong, "\n".join(wrong)


@pytest.mark.timeout(900)  # a busy machine
async def test_without_scripts(browser, shown):
    """Each page has the same headings and, apart from charts, the same text without scripts."""
    async with (
        tab(browser, shown.console.url, expected=(REFUSED,)) as plain,
        tab(browser, shown.console.url, scripts=False) as bare,
    ):
        await shown.console.log_in(plain, Role.ADMIN, "/")
        await bare.context.add_cookies(await plain.context.cookies())
        for page in PAGES:
            seen = []
            for one in (plain, bare):
                await one.open(shown.path(page))
                seen.append(await one.page.locator("h1, h2, th, dt, label").all_inner_texts())
            told = [text for text in seen[0] if text not in seen[1] and "UTC" not in text]
            assert told == [] or "chart" in await plain.page.content(), page


async def test_the_list_has_every_page():
    """Each route that answers GET with a page is in the list above."""
    parts = LoginParts(None, None, None, None)  # type: ignore[arg-type]  nothing is called
    paths = {page.partition("?")[0] for page in PAGES}
    for route in site_routes(None, parts, "1"):  # type: ignore[arg-type]
        assert isinstance(route, Route)
        is_file = route.path.endswith((".csv", ".md"))
        skipped = is_file or route.path in NOT_PAGES or LIVE.search(route.path)
        if "GET" in (route.methods or ()) and not skipped and not route.path.startswith("/login"):
            pattern = compile_path(route.path)[0]
            assert any(pattern.match(path) for path in paths), route.path
