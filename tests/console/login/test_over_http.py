"""Login and logout without a browser: after many refusals, and while the store is away."""

import asyncio
import http.client
import re
from collections.abc import Mapping
from urllib.parse import urlencode

from authz.core.roles import Role
from tests.support.console.installation import Console, console_on
from tests.support.real import Valkey

OWN = {"sec-fetch-site": "same-origin"}


async def _exchange(
    console: Console,
    method: str,
    path: str,
    fields: Mapping[str, str] = {},
    headers: Mapping[str, str] = {},
) -> tuple[int, str, str]:
    """Return the status, the Set-Cookie header and the body."""

    def work() -> tuple[int, str, str]:
        connection = http.client.HTTPConnection(console.url.removeprefix("http://"), timeout=30)
        try:
            connection.request(method, path, urlencode(fields), dict(headers))
            found = connection.getresponse()
            return found.status, found.getheader("set-cookie", ""), found.read().decode()
        finally:
            connection.close()

    return await asyncio.to_thread(work)


async def test_logout_while_the_store_is_away(tmp_path):
    """The browser forgets the cookie. A form of another site cannot cause that."""
    with Valkey() as valkey:
        async with console_on(valkey, tmp_path) as console:
            _, text = await console.key(Role.VIEWER)
            _, cookie, _ = await _exchange(console, "POST", "/login/key", {"key": text}, OWN)
            mine = {"cookie": cookie.partition(";")[0]}
            _, _, page = await _exchange(console, "GET", "/settings", headers=mine)
            token = re.findall('name="csrf_token" value="([0-9a-f]+)"', page)[0]
            valkey.kill()
            form = {"csrf_token": token}
            foreign = mine | {"sec-fetch-site": "same-site"}
            status, cookie, _ = await _exchange(console, "POST", "/logout", form, foreign)
            assert (status, cookie) == (503, "")
            status, cookie, page = await _exchange(console, "POST", "/logout", form, mine | OWN)
            assert status == 503
            assert "This browser is logged out" in page
            assert "Max-Age=0" in cookie


async def test_nobody_locks_out_others_of_one_address(valkey: Valkey, tmp_path):
    """After many refusals of one address, wrong keys are answered 429, and a right key logs in."""
    async with console_on(valkey, tmp_path) as console:
        _, text = await console.key(Role.VIEWER)
        wrong = [
            (await _exchange(console, "POST", "/login/key", {"key": f"no key {n}"}, OWN))[0]
            for n in range(14)
        ]
        assert (wrong[0], wrong[-1]) == (401, 429)
        status, cookie, _ = await _exchange(console, "POST", "/login/key", {"key": text}, OWN)
        assert (status, bool(cookie)) == (200, True)
