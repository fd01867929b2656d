"""Hostile texts in every stored field: shown as text, exported safely, and never executed."""

import csv
import io
import random
from html.parser import HTMLParser
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from authz.core import fields
from authz.core.csv_cell import csv_cell
from authz.core.errors import BadInput
from authz.core.records import RevocationReason
from authz.core.roles import Role
from authz.wiring.administration import administration
from tests.support.console.browser import chromium, tab
from tests.support.console.installation import console_on
from tests.support.console.serving import get

SEEDS = (
    *("<script>alert(1)</script>", "</title><script>alert(2)</script>", "<svg onload=alert(3)>"),
    *('"><img src=x onerror=alert(4)>', "' onmouseover='alert(5)", "javascript:alert(6)"),
    *("<iframe srcdoc='<script>alert(7)</script>'>", "<math><a xlink:href=javascript:alert(8)>x"),
    *("{{ 7*7 }}", "{% import os %}", "${7*7}", "#{7*7}", "<%= 7*7 %>", "{{''.__class__}}"),
    *("' OR 1=1 --", "'; DROP TABLE keys; --", "*", "keys/x AND client_id = *", "a\\b", 'a"b'),
    *("=1+1", "+1", "-1", "@SUM(A1)", "=HYPERLINK('http://evil.example.com')", "|calc", "%0d%0a"),
    *("\u202egnp.exe", "\u2066abc\u2069", "שלום", "a\u200bb", "\ufeffx", "e\u0301" * 20),
    *("😀" * 20, "\U0001d54f", "\U000e0041", "ﷺ" * 10, "a" * 120, "&lt;b&gt;", "&#60;script&#62;"),
    *("<!--", "]]>", "<base href=//evil.example.com>", "<link rel=stylesheet href=//evil>"),
    *("<meta http-equiv=refresh content='0;url=//evil.example.com'>", "hx-get=//evil.example.com"),
    '<div hx-get="/logout" hx-trigger="load">',
)
COUNT = 2000
PER_KEY = 8
FOREIGN = {"iframe", "base", "math", "link"}


class Elements(HTMLParser):
    """Reads a page as a browser does, and notes what only a hostile text can have made."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        """Note foreign elements, scripts and images that are not ours, and handlers of events."""
        given = dict(attributes)
        source = given.get("src", given.get("href", "")) or ""
        own = source.startswith("/static/")
        if (tag in FOREIGN or tag in {"script", "img"}) and not own:
            self.found.append(tag)
        self.found += [name for name in given if name.startswith("on")]
        if source.startswith(("javascript:", "//")) or given.get("hx-trigger") == "load":
            self.found.append(source)


def texts(count):
    """Return hostile texts that a key may have: the seeds, and pieces of them in random order."""
    chance = random.Random(11)
    made = [text for text in SEEDS if is_line(text)]
    while len(made) < count:
        parts = chance.sample(SEEDS, chance.randrange(2, 4))
        cut = [part[chance.randrange(len(part)) :] for part in parts[1:]]
        text = f"{parts[0]}{''.join(cut)}"[:120]
        made += [text] if is_line(text) else []
    return made


async def stored(rig, name, *others):
    """Issue a key with these texts as name and metadata, and return its kid and those texts.

    Texts that no key may have are left out: the API and the command line refuse them.
    """
    good = [text.strip() for text in (name, *others) if is_line(text)]
    notes = {f"note-{number}": text for number, text in enumerate(good[1:])}
    kid, _ = await rig.issue(client_id="cmd", name=good[0] if good else "none", metadata=notes)
    return kid, good


def is_line(text):
    """Return whether a text may be the name of a key."""
    try:
        return bool(fields.line("name", text.strip()))
    except BadInput:
        return False


async def test_two_thousand_texts_are_shown_as_text(site):
    """Each text stands on the page of its key as it was stored, and makes no element there."""
    chosen, shown = texts(COUNT), 0
    for start in range(0, COUNT, PER_KEY):
        kid, good = await stored(site.rig, *chosen[start : start + PER_KEY])
        page = (await get(site, f"/keys/{kid}")).text
        assert not [text for text in good if escape(text) not in page]
        assert Elements(page).found == []
        shown += len(good)
    assert shown == COUNT


def test_the_reader_finds_hostile_elements():
    """A text that is not escaped is found, so the tests above can fail."""
    for at in (0, 1, 2, 3, 6, 7):
        assert Elements(f"<p>{SEEDS[at]}</p>").found


async def test_exports_have_no_formulas(site):
    """No cell of the CSV begins as a formula does, and each text is whole behind its quote."""
    kept = [text for each in SEEDS for text in (await stored(site.rig, each))[1]]
    table = (await get(site, "/keys.csv")).text
    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    assert len(rows) >= len(kept)
    for row in rows:
        assert not [cell for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t"))]
    names = {row["name"] for row in rows}
    assert all(text in names or f"'{text}" in names for text in kept)


@given(st.text(max_size=30))
def test_a_cell_is_never_a_formula(text):
    """A cell with a quote before it is text for a spreadsheet; other cells are unchanged."""
    cell = csv_cell(text)
    assert cell in {text, f"'{text}"}
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


async def test_nothing_is_executed(shared_valkey, tmp_path):
    """A browser that opens lists, keys, history, audit and exports runs none of the texts."""
    shared_valkey.reset()
    async with console_on(shared_valkey, tmp_path) as console, chromium() as browser:
        good = [(await stored(console.rig, text))[0] for text in SEEDS]
        async with administration(console.rig.settings) as lifecycle:
            author = lifecycle.author("<script>alert(9)</script>", SEEDS[3])
            await lifecycle.revoke(good[0], RevocationReason.KEY_COMPROMISE, author)
        async with tab(browser, console.url) as one:
            await console.log_in(one, Role.ADMIN, "/")
            pages = [
                "/",
                "/keys",
                "/audit",
                "/owners/client?id=cmd",
                *map("/keys/{}".format, good[:6]),
            ]
            for path in (*pages, f"/keys/{good[0]}/history", f"/keys/{good[0]}/edit"):
                await one.open(path)
                await one.page.keyboard.press("Tab")
            for text in SEEDS[:8]:
                await one.page.goto(f"{console.url}/keys")
                await one.page.get_by_label("Search").fill(text)
                await one.page.wait_for_timeout(30)
            await one.fault_free()


@pytest.mark.parametrize(
    "path", ["/keys", "/usage", "/audit", "/owners/client", "/login", "/incident"]
)
@pytest.mark.parametrize("text", SEEDS[:14])
async def test_texts_in_a_url_are_escaped(site, path, text):
    """A parameter of a URL is text on the page, whatever it is."""
    names = ("q", "client", "key", "actor", "id", "next", "since", "page")
    page = await get(site, f"{path}?{urlencode(dict.fromkeys(names, text))}")
    assert page.status < 500
    assert Elements(page.text).found == []
