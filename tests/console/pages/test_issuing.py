"""Issuing and rotating keys."""

import re
from html import unescape

import pytest

from authz.core.roles import Role
from tests.support.console.serving import Page, Site, get, post, session_of

FORM = {
    "client": "acme",
    "name": "Checkout",
    "scopes": "models:read\r\nmodels:write",
    "env": "live",
}


def hidden(page: Page, name: str) -> str:
    """Return the value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page.text)
    assert found is not None
    return found[1]


def secret(page: Page) -> str:
    """Return the text of the key on the page, of which there is one."""
    found = set(re.findall(r"ak_(?:live|test)_[0-9A-Za-z]{16}_[0-9A-Za-z]+", page.text))
    (text,) = found
    return str(text)


async def listed(site: Site) -> int:
    """Return the number of keys in the list."""
    return (await get(site, "/keys")).text.count('<th scope="row"')


async def test_issue(site: Site) -> None:
    """A key is issued with the fields of the form. Its text is on this page alone."""
    page = await get(site, "/keys/new")
    form = FORM | {
        "request_id": hidden(page, "request_id"),
        "limits": "10/s\n\n100/d",
        "plan": "standard",
        "cidrs": "10.0.0.0/8",
        "hosts": "api.example.com",
        "metadata": "team=web\ntier = 1",
        "expires": "30d",
        "note": "a first key",
        "do": "issue",
    }
    made = await post(site, "/keys/new", form)
    assert made.status == 200
    assert made.headers["cache-control"] == "no-store"
    text = secret(made)
    curl = f"curl -i https://api.example.com/ -H 'x-api-key: {text}'"
    assert curl in unescape(made.text)
    kid = text.split("_")[2]
    shown = unescape((await get(site, f"/keys/{kid}")).text)
    for part in (
        "Checkout",
        "models:write",
        "10/s",
        "10.0.0.0/8",
        "team",
        "a first key",
        "in 29 d",
    ):
        assert part in shown
    assert text not in shown
    assert "oidc:ada" in shown


async def test_a_form_that_is_sent_twice_makes_one_key(site: Site) -> None:
    """A reload or a double click shows the same key again."""
    form = FORM | {"request_id": "0123456789abcdef", "do": "issue", "expires": "never"}
    first, second = await post(site, "/keys/new", form), await post(site, "/keys/new", form)
    assert secret(first) == secret(second)
    assert await listed(site) == 1


async def test_a_preview_issues_nothing(site: Site) -> None:
    """The preview shows the key as it would be."""
    form = FORM | {"request_id": "0123456789abcdef", "do": "preview", "plan": "standard"}
    page = await post(site, "/keys/new", form)
    assert "Nothing was issued yet" in page.text
    assert "1000/d" in page.text
    assert "models:write" in page.text
    assert await listed(site) == 0


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"client": "a b"}, "client"),
        ({"limits": "5/fortnight"}, "limits"),
        ({"scopes": "a b c !"}, "scopes"),
        ({"cidrs": "nowhere"}, "cidrs"),
        ({"hosts": "https://x"}, "hosts"),
        ({"origins": "a b"}, "origins"),
        ({"expires": "day", "day": "2020-01-01"}, "expires"),
    ],
)
async def test_wrong_fields_are_named(site: Site, wrong: dict[str, str], field: str) -> None:
    """A wrong field keeps its text and gets the reason; nothing is issued."""
    page = await post(site, "/keys/new", FORM | wrong | {"do": "issue", "request_id": "r" * 16})
    assert page.status == 422
    assert re.search(rf'id="f-{field}"[^>]*aria-invalid="true"', page.text)
    assert await listed(site) == 0


async def test_a_form_needs_the_token(site: Site) -> None:
    """A form of another site changes nothing."""
    page = await post(site, "/keys/new", FORM | {"csrf_token": "x", "do": "issue"})
    assert (page.status, await listed(site)) == (403, 0)
    assert "the token is wrong" in page.text
    large = await post(site, "/keys/new", FORM | {"note": "x" * 300_000})
    assert large.status == 413


async def test_rotate(site: Site) -> None:
    """The key gets a second secret; the old one works for the overlap, or is ended earlier."""
    kid, _ = await site.rig.issue(client_id="a")
    page = await get(site, f"/keys/{kid}/rotate")
    form = {"request_id": hidden(page, "request_id"), "overlap": "604800s", "note": "due"}
    made = await post(site, f"/keys/{kid}/rotate", form)
    assert secret(made) == secret(await post(site, f"/keys/{kid}/rotate", form))
    assert "Secret 1 works until" in made.text
    shown = (await get(site, f"/keys/{kid}")).text
    assert [shown.count(f"End the {which} one") for which in ("new", "old")] == [1, 1]
    page = await get(site, f"/keys/{kid}/retire?secret=1")
    ended = await post(site, f"/keys/{kid}/retire", {"etag": hidden(page, "etag"), "secret": "1"})
    assert "The secret has ended" in ended.text
    shown = (await get(site, f"/keys/{kid}")).text
    assert "End the old one" not in shown
    assert "ended" in shown


async def test_roles(site: Site) -> None:
    """A viewer sees no form. If it sends one, the API refuses it."""
    kid, _ = await site.rig.issue(client_id="a")
    site.sessions.session = session_of(Role.VIEWER)
    shown = (await get(site, f"/keys/{kid}")).text + (await get(site, "/keys")).text
    assert "/rotate" not in shown
    assert "/revoke" not in shown
    assert "/keys/new" not in shown
    for path, form in (
        ("/keys/new", FORM | {"do": "issue"}),
        (f"/keys/{kid}/rotate", {}),
        (f"/keys/{kid}/revoke", {}),
        (f"/keys/{kid}/edit", {"client": "b", "etag": "1"}),
    ):
        page = await post(site, path, form)
        assert page.status in {403, 409}, path
        assert "ak_live" not in page.text
    assert "active" in (await get(site, f"/keys/{kid}")).text


async def test_an_issuer_is_offered_no_more_rights(site: Site) -> None:
    """A visitor who may only take rights away is offered no other limits."""
    kid, _ = await site.rig.issue(client_id="a")
    change = f"/keys/{kid}/edit#f-limits"
    assert change in (await get(site, f"/keys/{kid}")).text
    for role in (Role.ISSUER, Role.VIEWER, Role.AUDITOR):
        site.sessions.session = session_of(role)
        assert change not in (await get(site, f"/keys/{kid}")).text
