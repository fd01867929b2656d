"""Changes of many keys."""

import pytest

from authz.core.roles import Role
from tests.support.console.serving import Site, get, post, session_of


async def issued(site: Site, *names: str, **fields: object) -> list[str]:
    """Issue keys of client acme with these names. Return their kids."""
    given = {"client_id": "acme"} | fields
    return [(await site.rig.issue(name=name, **given))[0] for name in names]


async def badge(site: Site, kid: str) -> str:
    """Return the status that the page of a key shows."""
    text = (await get(site, f"/keys/{kid}")).text
    return text.split('<span class="badge ')[1].split('"')[0]


async def test_picked_keys(site: Site) -> None:
    """A preview changes nothing. Then the picked keys are changed, and no other."""
    one, two, three = await issued(site, "one", "two", "three")
    form = {"change": "disable", "of": "picked", "pick": [one, two], "do": "preview"}
    preview = await post(site, "/keys/bulk", form)
    assert "Disable: 2 keys" in preview.text
    assert await badge(site, one) == "active"
    done = await post(site, "/keys/bulk", form | {"do": "run", "note": "a test"})
    assert "Confirmed by the fleet" in done.text
    assert [await badge(site, kid) for kid in (one, two, three)] == ["disabled"] * 2 + ["active"]
    assert "a test" in (await get(site, f"/keys/{one}")).text


async def test_all_that_fit(site: Site) -> None:
    """All keys that fit the search are changed, and no other."""
    one, two, other = await issued(site, "shop one", "shop two", "other")
    form = {"change": "revoke", "of": "all", "q": "SHOP", "do": "run"}
    form["reason"] = "REVOCATION_REASON_SUPERSEDED"
    done = await post(site, "/keys/bulk", form)
    assert "Revoke: 2 keys" in done.text
    assert "authz keys revoke --search SHOP --reason superseded --wait" in done.text
    assert [await badge(site, kid) for kid in (one, two, other)] == ["revoked"] * 2 + ["active"]


@pytest.mark.parametrize(
    ("change", "value", "shown"),
    [
        ("plan", "standard", "<dd><bdi>standard</bdi></dd>"),
        ("add_scope", "a:b a:c", "a:c"),
        ("expires", "365d", "in 364 d"),
        ("expires", "never", "<dd>never</dd>"),
    ],
)
async def test_changes_with_a_value(site: Site, change: str, value: str, shown: str) -> None:
    """The page first asks for the value, then shows a preview, then changes the keys."""
    (one,) = await issued(site, "one")
    form = {"change": change, "of": "picked", "pick": [one], "do": "run"}
    asked = await post(site, "/keys/bulk", form)
    assert 'id="f-value"' in asked.text
    assert shown not in (await get(site, f"/keys/{one}")).text
    done = await post(site, "/keys/bulk", form | {"value": value})
    assert '<span class="badge good">changed</span>' in done.text, done.text
    assert shown in (await get(site, f"/keys/{one}")).text


async def test_refusals(site: Site) -> None:
    """Nothing picked, an unknown change, and keys outside are refused."""
    (one,) = await issued(site, "one", tenant_id="us")
    for form in (
        {"change": "disable", "of": "picked"},
        {"change": "explode", "of": "picked", "pick": [one]},
        {"change": "disable", "of": "all"},
    ):
        assert (await post(site, "/keys/bulk", form | {"do": "run"})).status == 400
    site.sessions.session = session_of(Role.ADMIN, tenants=["eu"])
    await post(site, "/keys/bulk", {"change": "disable", "pick": [one], "do": "run"})
    site.sessions.session = session_of(Role.ADMIN)
    assert await badge(site, one) == "active"


async def test_some_fail(site: Site) -> None:
    """A key that cannot be changed is shown with the reason; the others are changed."""
    one, two = await issued(site, "one", "two")
    await post(site, "/keys/bulk", {"change": "revoke", "pick": [one], "do": "run"})
    done = await post(site, "/keys/bulk", {"change": "disable", "pick": [one, two], "do": "run"})
    assert "1 could not be changed" in done.text
    assert "not possible" in done.text
    assert await badge(site, two) == "disabled"
