"""The audit trail over a failover: nothing is found in what the new primary has."""

from dataclasses import replace
from functools import partial

from authz.core.errors import Fault, Unavailable
from authz.core.trail.report import Report
from authz.core.trail.verification import Verification
from authz.flows.trail.sealing import Sealed, Sealer
from authz.flows.trail.verifying import verify
from authz.storage.keys import StoredKeys
from authz.storage.trail import StoredRows
from tests.support.changes import issued
from tests.support.failover import Replicated
from tests.support.fakes import FakeClock, make_keyring
from tests.support.real import eventually

RING = make_keyring()
KEYS = RING.trail_keys


async def written(store: StoredKeys, kid: str) -> bool:
    """Issue a key; retry, because a primary with late replicas refuses changes."""
    try:
        return bool(await store.apply(issued(kid)))
    except Unavailable:
        return False
    except Fault:  # an earlier try has written it
        return True


async def sealed(sealer: Sealer) -> Sealed | None:
    """Seal the trail; retry as above."""
    try:
        return await sealer.seal()
    except Unavailable:
        return None


async def test_a_failover_leaves_an_honest_trail():
    """A sealer and a writer go on with the new primary. A confirmed checkpoint is still there."""
    async with Replicated() as world:
        endpoint = replace(world.endpoint, marks=lambda: KEYS)
        async with endpoint.client() as client, endpoint.client() as other:
            store, rows = StoredKeys(client), StoredRows(other, has_replicas=True)
            sealer = Sealer(rows, KEYS, FakeClock(), "sealer")
            for number in range(6):
                await eventually(partial(written, store, f"{number:016}"))
            assert await eventually(partial(sealed, sealer))
            assert sealer._confirmed is not None
            await eventually(partial(written, store, "after-the-seal00"))
            world.primary.kill()
            await world.failed_over()
            for number in range(6, 12):
                await eventually(partial(written, store, f"{number:016}"))
            found = await eventually(partial(sealed, sealer))
            assert found.went_back == ""
            report: Report = await verify(
                rows, rows, KEYS, lambda removed: Verification(KEYS, removed=removed)
            )
            assert report.is_intact, report.findings
            assert (report.checkpoints, report.unsealed) == (2, 0)
