"""A short run of made-up calls. `make fuzz-admin` runs more."""

import pytest

from authz.rpc.admin.calls import calls_log
from tests.rpc.admin.fuzz import run
from tests.support.rpc.admin import AdminRig

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_made_up_calls(rig: AdminRig) -> None:
    """No made-up call is UNKNOWN or INTERNAL, none leaves a traceback, and many are accepted."""
    calls_log.disabled = True  # a thousand lines
    codes, problems = await run(rig, calls=250, seed=7)
    calls_log.disabled = False
    assert problems == []
    assert codes["OK"] > 20
    assert codes["INVALID_ARGUMENT"] > 20
