"""2,000 hostile strings in every field that stores text: shown as text, and never executed."""

import itertools

import pytest
from playwright.async_api import expect

from authz.core.roles import Role
from tests.support.console.browser import tab

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNT = 2_000
PAGE = 50  # keys
SEEDS = (
    "<script>alert({n})</script>",
    "</title><script>alert({n})</script>",
    '"><svg/onload=alert({n})>',
    "' autofocus onfocus=alert({n}) x='",
    "<img src=//evil.example/{n}>",
    "<a href=javascript:alert({n})>x</a>",
    "</textarea><iframe srcdoc='<script>alert({n})</script>'>",
    "{{{{constructor.constructor('alert({n})')()}}}}",
    "{{% for x in ().__class__.__base__.__subclasses__() %}}{n}{{% endfor %}}",
    "${{7*{n}}} #{{7*{n}}} <%= 7*{n} %>",
    '=HYPERLINK("http://evil.example/{n}")',
    "@SUM(1+{n})*cmd|' /C calc'!A0",
    "'; DROP TABLE keys; -- {n}",
    "\u05e9\u05dc\u05d5\u05dd {n} \u0645\u0631\u062d\u0628\u0627",
    "\U0001f511\U0001f468\u200a\U0001f469 {n}",
    "e\u0301\u0323\u0317\u030a{n}\u0489",
    "<!--{n}--><![CDATA[<script>alert({n})</script>]]>",
    "&lt;b&gt;{n}&#x3c;script&#x3e;alert({n})",
    "hx-get=/evil hx-trigger=load {n}",
    "data:text/html,<script>alert({n})</script>",
)


def texts() -> list[str]:
    """Return the strings that a record may hold: one printable line each."""
    made = (seed.format(n=n) for n in itertools.count() for seed in SEEDS)
    return list(itertools.islice((text for text in made if text.isprintable()), COUNT))


async def test_hostile_texts(browser, console) -> None:
    """Each page of the list, and some pages of keys, show every string as it is stored."""
    wanted = texts()
    kids = {}
    for text in wanted:
        kid, _ = await console.rig.issue(
            client_id="hostile", name=text, metadata={"note": text}, allowed_origins=()
        )
        kids[kid] = text
    async with tab(browser, console.url) as shown:
        await console.log_in(shown, Role.ADMIN)
        await shown.open("/keys?client=hostile")
        rows = shown.page.locator("tbody th a bdi")
        seen = await rows.all_text_contents()
        following = shown.page.get_by_role("link", name="Next page")
        while await following.count():
            await following.click()
            await expect(rows.first).not_to_have_text(seen[-PAGE])
            await shown.page.wait_for_load_state()
            seen += await rows.all_text_contents()
        assert sorted(seen) == sorted(wanted)
        for kid, text in list(kids.items())[: len(SEEDS)]:
            for path in ("", "/history", "/edit", "/rotate", "/revoke", "/explain?path=/"):
                await shown.open(f"/keys/{kid}{path}")
                assert text in await shown.page.locator("main").inner_text() or path == "/history"
            await shown.open(f"/incident/{kid}")
            assert text in await shown.page.locator("h1").inner_text()
        await shown.fault_free()
