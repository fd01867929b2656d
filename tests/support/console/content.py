"""Content for a console: keys of several owners, changes, usage of some days, and sidecars."""

import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from authz.core.limits.limit import parse_limits
from authz.core.records import RevocationReason
from authz.wiring.administration import administration, endpoint, keyring
from tests.support.rpc.admin import DAY, AdminRig
from tests.support.storage.sidecar import Registered
from tests.support.usage import line
from tests.support.usage_counting import count_entries

OWNERS: Final = (
    ("acme", "search", "north"),
    ("acme", "billing", "north"),
    ("initech", "reports", "south"),
    ("globex", "", ""),
)
ANSWERS: Final = (
    *[{"code": "200"}] * 12,
    {"code": "404"},
    {"code": "500"},
    {"code": "403", "reason": "insufficient_scope", "flags": "UAEX", "charged": "-"},
    {"code": "429", "reason": "rate_limited", "flags": "UAEX", "charged": "-"},
)


async def fill(rig: AdminRig, *, days: int = 12, requests: int = 600) -> list[str]:
    """Issue keys, change some of them, and count requests with them. Return the kids."""
    kids = []
    async with administration(rig.settings) as lifecycle:
        for number in range(8):
            client, project, tenant = OWNERS[number % len(OWNERS)]
            kid, _ = await rig.issue(
                ["orders:read", "orders:write"] if number % 2 else ["models:*"],
                client_id=client,
                project_id=project,
                tenant_id=tenant,
                name=f"{client} {('production', 'staging')[number % 2]} {number}",
                limits=parse_limits("limits", ["10/s", "5000/d"]),
                plan="standard" if number % 3 == 0 else "",
            )
            kids.append(kid)
        author = lifecycle.author("ada@laptop", "a card was opened about it")
        await lifecycle.rotate(kids[0], 7 * DAY, author)
        await lifecycle.disable(kids[1], lifecycle.author("ada@laptop"))
        await lifecycle.revoke(
            kids[2], RevocationReason.KEY_COMPROMISE, lifecycle.author("ada@laptop")
        )
    await count(rig, kids, days=days, requests=requests)
    return kids


async def count(rig: AdminRig, kids: Sequence[str], *, days: int, requests: int) -> None:
    """Count requests with these keys over the last days, as a meter does."""
    chance, now = random.Random(7), time.time_ns() // 1_000_000
    lines = [
        line(
            kid=chance.choices(kids, range(len(kids), 0, -1))[0],
            started=now - chance.randrange(days * DAY),
            milliseconds=str(chance.randrange(3, 200)),
            route=chance.choice(("orders", "models", "reports")),
            **chance.choice(ANSWERS),
        )
        for _ in range(requests)
    ]
    await count_entries(endpoint(rig.settings), lines, now)


@asynccontextmanager
async def sidecars(rig: AdminRig, count: int = 3) -> AsyncIterator[None]:
    """Run sidecars that follow the store and write their registry entries."""
    ring = keyring(rig.settings)
    async with AsyncExitStack() as stack:
        for number in range(count):
            where = endpoint(rig.settings)
            sidecar = Registered(where, f"gateway-{number + 1}", keyring=ring)
            await stack.enter_async_context(sidecar)
        yield
