"""The page about unusual use, and the risk and the throttle on the page of a key."""

import asyncio
import time

from authz.core.limits.limit import parse_limits
from authz.core.limits.throttle import Throttle
from authz.core.roles import Role
from authz.core.usage.anomalies.features import Feature, Gap, Reason
from authz.core.usage.anomalies.ports import Round
from authz.core.usage.anomalies.ranking import Anomaly
from authz.storage.usage.habits import StoredHabits
from authz.wiring import administration
from tests.support.console.serving import Site, get, session_of

HOUR = int(time.time()) // 3600
RATE = Reason(Feature.RATE, 5200, 1200, 3.5)
NETWORKS = Reason(Feature.NETWORKS, 3, 1, 2)
DENIED = Reason(Feature.DENIED, 0.31, 0.01, 2)


async def _judge(site: Site, *found: Anomaly) -> None:
    """Store a judged hour with these anomalies."""
    async with administration.endpoint(site.rig.settings).client() as client:
        store = StoredHabits(client)
        await store.save({}, list(found))
        await store.finish(Round(HOUR, 4120, 2, 0, {(Feature.NETWORKS, Gap.PRIVATE): 310}))


async def test_the_ranking(site: Site) -> None:
    """The key with most features is first. The page says which keys a feature says nothing of."""
    near, _ = await site.rig.issue(client_id="near", tenant_id="north")
    far, _ = await site.rig.issue(client_id="far", tenant_id="south")
    await _judge(site, Anomaly(near, HOUR, (DENIED,)), Anomaly(far, HOUR, (RATE, NETWORKS)))
    page = (await get(site, "/anomalies")).text
    assert page.index("far") < page.index("near")
    for text in ("more requests: 5,200, usually 1,200", "more denials: 31%, usually 1%"):
        assert text in page
    assert "private addresses only" in page
    key = (await get(site, f"/keys/{far}")).text
    assert "new networks: 3, usually 1" in key
    site.sessions.session = session_of(Role.VIEWER, tenants=["north"])
    page = (await get(site, "/anomalies")).text
    assert (far in page, near in page) == (False, True)
    site.sessions.session = session_of()
    assert (await get(site, "/anomalies")).status == 403


async def test_no_key_was_judged(site: Site) -> None:
    """A round that judged no key is told as none, with the reason."""
    async with administration.endpoint(site.rig.settings).client() as client:
        await StoredHabits(client).finish(Round(HOUR, 0, 0, 0, {}))
    page = (await get(site, "/anomalies")).text
    assert "0 keys judged" in page
    assert "after a week or two of use" in page


async def test_a_throttled_key(site: Site) -> None:
    """The page of the key says how much its rates are lowered, while the throttle lasts."""
    kid, _ = await site.rig.issue(client_id="slow", limits=parse_limits("limits", ["100/s"]))
    assert "are lowered" not in (await get(site, f"/keys/{kid}")).text
    async with administration.administration(site.rig.settings) as lifecycle:
        for ms in (3_600_000, 300):
            throttle = Throttle(25, int(time.time() * 1000) + ms)
            await lifecycle.update(kid, {"throttle": throttle}, lifecycle.author("tests"))
            page = (await get(site, f"/keys/{kid}")).text
            assert "are lowered to 25 % until" in page or time.time() * 1000 >= throttle.until
    while "are lowered" in (await get(site, f"/keys/{kid}")).text:
        await asyncio.sleep(0.05)
