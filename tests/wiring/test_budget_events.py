"""Events of budgets: a sidecar sees the marks, and administration tells the receivers."""

import asyncio

from authz.core.audit import Action
from authz.core.limits.limit import parse_limits
from authz.core.new_keys import KeySpec
from authz.core.roles import Role
from authz.storage import schema
from authz.wiring import administration
from tests.rpc.admin.kills import AdminServing
from tests.support.rpc.messages import check_request
from tests.support.rpc.servers import ask
from tests.support.serving import Serving
from tests.wiring.test_canary_keys import used


async def test_a_budget_that_is_used_up(valkey, tmp_path):
    """Of ten requests the eighth makes the event of 80 %, the eleventh that of the refusal."""
    serving = AdminServing(tmp_path, valkey.url)
    await serving.issue(Role.ADMIN)
    sidecar = Serving(tmp_path, valkey, {"cache": {"trust_lease": "4s"}})
    limits = parse_limits("limits", ["10/month,of=bytes_out"])
    async with administration.administration(serving.settings) as lifecycle:
        spec = KeySpec(client_id="acme", env="live", life_ms=None, limits=limits)
        issued = await lifecycle.issue(spec, lifecycle.author("tests"))
    message = check_request([("x-api-key", issued.key_text)])
    await asyncio.to_thread(serving.start)
    try:
        with sidecar:
            await asyncio.to_thread(sidecar.wait_until_ready)
            for _ in range(8):
                assert (await ask(sidecar.check, message)).status.code == 0
            ((kid, near),) = await used(serving.settings, Action.BUDGET)
            for _ in range(2):
                assert (await ask(sidecar.check, message)).status.code == 0
            assert (await ask(sidecar.check, message)).status.code
            (_, refused), _ = await used(serving.settings, Action.BUDGET, 2)
        assert kid == issued.record.kid
        assert (near["budget"], near["percent"]) == ("bytes_out-month", 80)
        assert refused["percent"] == 100
        assert near["ends_at"] == refused["ends_at"] > near["seen_at"] > 0
        assert not valkey.admin.xlen(schema.DEFAULT.seen)
    finally:
        serving.close()
